"""The stage quality, and ``arbench score``: how close images are to a reference.

stage            the figures of a trial
score            the figures of images that another program made
seen             what Inception sees in a set of images
fidelity         figures with intervals and replicates, which stage and score share
features         arrays of features: checks, and iteration in blocks
distributions    Frechet distance and inception score
pairs            KID, precision, recall, density, coverage: they compare image with image
resampling       replicates and intervals
reference        the features and statistics of a reference set, for one extractor, and their file
reference_data   the reference of a data set that ships with arbench, cached by content
reference_files  references by path, for other data
"""
