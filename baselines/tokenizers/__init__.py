"""Tokenizers: images to discrete tokens and back."""
