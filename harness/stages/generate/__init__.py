"""The stage generate: makes images from labels and noise, and keeps their features.

stage   samples and decodes a shard of images, and extracts its features
shards  the files of the shards, and how they are merged
"""
