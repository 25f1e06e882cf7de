"""The reference methods and their tokenizers.

The methods are raster AR, VAR and three controls. A control is a method that is compared with a new method, to show
where the effect of the new method comes from. Two controls are made for the method EAR, which generates the tokens of
an image along a spiral. These order controls are like EAR, but generate the tokens in another order. The third control
is made for the method ActVAR, a sparse VAR that chooses anew for each image what to compute. This pruning control is
VAR with FFN units and tokens removed for good.
"""
