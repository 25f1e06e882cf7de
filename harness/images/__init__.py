"""Reading images: the bundled data set, and files that users supply.

bundled   Fashion-MNIST; its test images are in the folder fmnist/
pictures  one image file of any kind and mode, read as 8 bits per channel
listing   the image files under a folder
arrays    .npz and .npy files that other programs wrote, read without trusting them
reading   what a set of images is, and the options of reading it: crop, first N
samples   opens a set of images of any kind
tars      WebDataset archives
"""
