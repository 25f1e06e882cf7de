"""The stage quality, and ``arbench score``: how close images are to a reference.

stage            the figures of a trial
score            the figures of images that another program made
seen             a set of images as Inception sees it
fidelity         figures with intervals and replicates, which both share
features         arrays of features: checked, and gone through in blocks
distributions    Frechet distance and inception score
pairs            KID, precision, recall, density, coverage: image against image
resampling       replicates and intervals
reference        a reference set as an extractor sees it, cached by content
reference_files  references by path, for data that do not ship with us
"""
