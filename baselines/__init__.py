"""The reference methods and their tokenizers.

The methods are raster AR, VAR, and controls: methods with which a new method is compared. Order controls are like EAR,
but generate the places of an image in another order. The pruning control is VAR with FFN units and tokens removed for
good.
"""
