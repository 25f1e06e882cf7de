"""Checks claims of papers against the trials of a store, the costs of architectures, and published numbers."""
