"""Weights: read, found, fetched.

tensors    files of tensors, read strictly and without running what is in them
published  where published weights come from, and where they are looked for
fetching   downloads from the Hugging Face hub or a mirror
"""
