"""How weights come about.

loop       the one training loop: AdamW, warm-up and cosine, averaged weights, resumable
recipe     what a set of bundled weights is made from; ``arbench train NAME``
folders    training images in a folder, as ImageNet is unpacked
processes  several processes and GPUs, under accelerate
"""
