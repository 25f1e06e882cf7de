"""The reference methods and their tokenizers.

The methods are raster AR, VAR, and controls: methods with which a new method is compared. The order controls belong to
EAR, a method that generates the tokens of an image along a spiral. They are like EAR, but generate the tokens in
another order. The pruning control is VAR with FFN units and tokens removed for good.
"""
