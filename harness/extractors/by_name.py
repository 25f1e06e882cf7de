"""The extractors by name, and the usual extractor of each data set."""

from pathlib import Path

from harness.errors import unknown
from harness.extractors.base import FMNIST_CNN, INCEPTION, Extractor
from harness.extractors.fmnist_cnn import load_fmnist_cnn


def _load_inception(weights: Path | None) -> Extractor:
    from harness.extractors.inception import load_inception  # late: torch-fidelity takes seconds to import

    return load_inception(weights)


def usual(data: str) -> str:
    """Name of the extractor that a data set is scored with if none is named."""
    return FMNIST_CNN if data == "fmnist" else INCEPTION


def load(name: str, weights: Path | None = None) -> Extractor:
    """The extractor of this name, with the given weights or its default ones.

    Raises ArbenchError, which lists the valid names, if there is none.
    """
    known = {FMNIST_CNN: load_fmnist_cnn, INCEPTION: _load_inception}
    if name not in known:
        raise unknown("extractor", name, known)
    return known[name](weights)
