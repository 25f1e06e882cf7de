"""Networks that look at images, each under a name of its own, so that no score is taken for another's.

base                what an extractor is
fmnist_cnn          ``fmnist-cnn``: a small classifier, bundled (weights/)
inception           ``inception``: the network that FID is named after, its weights given by path
by_name             finds one by name, and the one that a data set is usually scored with
for_torch_fidelity  makes ``fmnist-cnn`` known to torch-fidelity
"""
