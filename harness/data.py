"""Image data by preset name. ``fmnist``: Fashion-MNIST (Xiao et al., arXiv 1708.07747), 28x28 grey, 10 classes.

The 10,000 test images ship with the project and are the reference of every score. The 60,000 training images are needed
only to retrain; they are looked for where the user says, in Debian's package, and at torchvision's mirror.
"""

import gzip
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.errors import ArbenchError, unknown

BUNDLED = Path(__file__).parent / "datasets"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SHA256 = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
CLASSES = {
    "fmnist": ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
}


class Images(NamedTuple):
    """images: uint8 [N, C, H, W]; labels: int64 [N]; sha256: of the files that both came from."""

    images: Tensor
    labels: Tensor
    sha256: str


def reference_images(name: str) -> Images:
    """The images that scores are measured against. Raises ArbenchError for an unknown name or a damaged file."""
    _known(name)
    return _read(BUNDLED / name, "t10k")


def training_images(name: str, folder: Path | None = None, download_to: Path | None = None) -> Images:
    """The training images: from ``folder`` (the four .gz files of Fashion-MNIST), else from Debian's
    dataset-fashion-mnist, else downloaded by torchvision into ``download_to``.

    Raises ArbenchError naming the three ways if none gives them, or naming the file whose hash is wrong.
    """
    _known(name)
    if folder is not None:
        return _read(folder, "train")
    if DEBIAN.is_dir():
        return _read(DEBIAN, "train")
    if download_to is not None:
        return _read(_download(download_to), "train")
    raise ArbenchError(_three_ways("no training images found"))


def _download(root: Path) -> Path:
    from torchvision.datasets import FashionMNIST  # imported late: only retraining needs it

    try:
        FashionMNIST(str(root), train=True, download=True)
    except (OSError, RuntimeError) as error:
        raise ArbenchError(_three_ways(f"the download failed ({error})")) from error
    return root / "FashionMNIST" / "raw"


def _three_ways(fault: str) -> str:
    return (
        f"fmnist: {fault}. Three ways to the 60,000 training images: --data FOLDER with train-images-idx3-ubyte.gz and "
        "train-labels-idx1-ubyte.gz; Debian's package (apt install dataset-fashion-mnist); or --download FOLDER, which "
        "lets torchvision fetch them"
    )


def _known(name: str) -> None:
    if name not in CLASSES:
        raise unknown("data set", name, CLASSES)


def _read(folder: Path, split: str) -> Images:
    images, one = _idx(folder / f"{split}-images-idx3-ubyte.gz", 16)
    labels, two = _idx(folder / f"{split}-labels-idx1-ubyte.gz", 8)
    return Images(
        torch.from_numpy(images.reshape(-1, 1, 28, 28).copy()),
        torch.from_numpy(labels.astype(np.int64)),
        hashlib.sha256((one + two).encode()).hexdigest(),
    )


def _idx(path: Path, header: int) -> tuple["np.ndarray[tuple[int], np.dtype[np.uint8]]", str]:
    """The bytes after the header of an IDX file, and the file's sha256, which must be the published file's."""
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise ArbenchError(_three_ways(f"cannot read {path} ({error.strerror})")) from error
    digest = hashlib.sha256(packed).hexdigest()
    if digest != SHA256[path.name]:
        raise ArbenchError(f"{path} is not the published file: sha256 {digest}, expected {SHA256[path.name]}")
    return np.frombuffer(gzip.decompress(packed), dtype=np.uint8, offset=header), digest
