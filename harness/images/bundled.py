"""The data set ``fmnist``: Fashion-MNIST (Xiao et al., arXiv 1708.07747), 28x28 grey, 10 classes.

The 10,000 test images ship with the project and are the reference of every score. The 60,000 training images are needed
only to retrain. The training images are looked for in the folder that the user names, in Debian's package and at
torchvision's mirror.
"""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
import torch

from harness.errors import ArbenchError
from harness.images.datasets import DataSet, Images

BUNDLED = Path(__file__).parent
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SHA256 = {  # of the uncompressed content: Debian's .gz files differ from the authors', their content does not
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def _reference() -> Images:
    return _read(BUNDLED / "fmnist", "t10k")


def _training(folder: Path | None, download_to: Path | None) -> Images:
    """The training images, from the first of these sources that is there:

    - ``folder``, if it is given; it must hold the two train files of Fashion-MNIST
    - Debian's package dataset-fashion-mnist, if it is installed
    - torchvision, if ``download_to`` is given; the images are downloaded into that folder

    Raises ArbenchError if there are no images; the error names these three sources. Also raises ArbenchError, naming
    the file, if the hash of a file is wrong.
    """
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


def _read(folder: Path, split: str) -> Images:
    images, one = _idx(folder / f"{split}-images-idx3-ubyte.gz", 16)
    labels, two = _idx(folder / f"{split}-labels-idx1-ubyte.gz", 8)
    return Images(
        torch.from_numpy(images.reshape(-1, *FMNIST.shape).copy()),
        torch.from_numpy(labels.astype(np.int64)),
        hashlib.sha256((one + two).encode()).hexdigest(),
    )


def _idx(path: Path, header: int) -> tuple["np.ndarray[tuple[int], np.dtype[np.uint8]]", str]:
    """The bytes after the header of an IDX file, and the sha256 of the unzipped file. Raises ArbenchError if that
    sha256 is not the published one."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ArbenchError(_three_ways(f"cannot read {path} ({error})")) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[path.name]:
        raise ArbenchError(f"{path} does not hold the published data: sha256 {digest}, expected {SHA256[path.name]}")
    return np.frombuffer(content, dtype=np.uint8, offset=header), digest


FMNIST = DataSet(
    name="fmnist",
    shape=(1, 28, 28),
    extractor="fmnist-cnn",
    classes=(
        "T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    reference=_reference,
    training=_training,
)  # fmt: skip
CLASSES = {FMNIST.name: FMNIST.classes}
"""A dict from the name of each data set whose images ship to the names of its classes. Methods look up in CLASSES
whether the images of their data set ship. Do not rename CLASSES: its name counts in the methods' keys."""
