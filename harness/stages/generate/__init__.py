"""The stage generate: labels and noise in, images out, of which features are kept.

stage   a shard of images: sampled, decoded, looked at
shards  the files that shards leave, and how they become one
"""
