"""Weights: reading, finding and fetching them.

tensors    files of tensors, read strictly and without running code in them
published  where published weights come from, and which folders are searched for them
fetching   downloads from the Hugging Face hub or a mirror
"""
