"""Feature extractors. Each has its own name, so that no score is mistaken for the score of another extractor.

base                what an extractor is
fmnist_cnn          ``fmnist-cnn``: a small classifier, bundled (weights/)
inception           ``inception``: the network that FID is named after, with weights given by path
by_name             finds an extractor by name, and the extractor that a data set has by default
for_torch_fidelity  registers ``fmnist-cnn`` with torch-fidelity
"""
