"""The stage quality, and ``arbench score``: how close images are to a reference.

stage            FID and other metrics of a trial
score            the same metrics, of images that another program made
seen             the Inception features and statistics of a set of images
fidelity         collects metrics with their intervals and replicates; ``stage`` and ``score`` use it
features         checks arrays of features, and goes through them in blocks
distributions    Frechet distance and inception score
pairs            KID, precision, recall, density and coverage, which compare image with image
resampling       the bootstrap: replicates of metrics, and intervals
reference        the features and statistics of a reference set, for one extractor, and their file
reference_data   the reference of a data set that ships with arbench, cached by content
reference_files  references that the user gives as a path, for other data
"""
