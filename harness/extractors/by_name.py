"""The extractors by name, and which of them a data set is usually scored with."""

from pathlib import Path

from harness.errors import unknown
from harness.extractors.base import FMNIST_CNN, INCEPTION, Extractor
from harness.extractors.fmnist_cnn import load_fmnist_cnn


def _load_inception(weights: Path | None) -> Extractor:
    from harness.extractors.inception import load_inception  # late: torch-fidelity takes seconds to import

    return load_inception(weights)


def usual(data: str) -> str:
    """The extractor that a data set is scored with if nothing else is said."""
    return FMNIST_CNN if data == "fmnist" else INCEPTION


def load(name: str, weights: Path | None = None) -> Extractor:
    """The extractor of that name, with the bundled weights or those given. ArbenchError names the valid ones."""
    known = {FMNIST_CNN: load_fmnist_cnn, INCEPTION: _load_inception}
    if name not in known:
        raise unknown("extractor", name, known)
    return known[name](weights)
