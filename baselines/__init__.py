"""The references: raster AR, VAR, order controls and pruning controls, and their tokenizers."""
