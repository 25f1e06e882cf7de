"""Reading images: the bundled data set, and files that users supply.

datasets  what a data set is; the installed data sets, by name
bundled   Fashion-MNIST; its test images lie in the folder fmnist/
imagenet  ImageNet at 256 and 512, whose images do not ship
pictures  one image file, of whatever kind and mode, as 8 bits a channel
listing   the image files under a folder
arrays    .npz and .npy files that other programs wrote, read without trusting them
reading   what a set of images is, and the options of reading it: crop, first N
samples   opens a set of images of any kind
tars      WebDataset archives
"""
