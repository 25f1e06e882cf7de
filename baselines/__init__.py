"""The reference methods and their tokenizers. The methods are raster AR, VAR, order controls and pruning controls."""
