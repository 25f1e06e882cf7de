"""A generated corpus of damaged and odd files, given to the real commands: each must be right, or one clear line.

``python -m tests.corpus`` makes 2,000 files of every kind that arbench reads, from a fixed seed, and prints a table;
``--kind png --count 50`` less of them. tests/unit/test_corpus.py takes a few of each kind.

mutations.py    damage to bytes: flipped, cut, spliced, zeroed, longer, another kind's beginning; and files in place
arrays.py       .npz and .npy: headers, shapes, keys, flags of the zip
images.py       PNG, JPEG, TIFF in a folder, and WebDataset .tar
networks.py     safetensors and files of torch.save
texts.py        sweep and site files in TOML, records in JSON
packs.py        submissions
cases.py        a case: a kind, a file, a command; verdicts
readers.py      what well-known readers say of a file
places.py       what stands in the place of Inception, of the methods and of Slurm; valid files
run.py          runs cases in processes of their own, so that a crash, a hang or a bomb ends one case only
"""
