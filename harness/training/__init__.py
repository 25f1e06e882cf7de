"""How weights are trained.

loop       the one training loop: AdamW, warm-up and cosine, averaged weights, resumable
recipe     how each set of bundled weights is made; ``arbench train NAME`` runs a recipe
folders    training images in a folder with one sub-folder per class, as ImageNet is unpacked
processes  training in several processes and on GPUs, with accelerate
"""
