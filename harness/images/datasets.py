"""The data sets, by name. Any package can add a data set by an entry point in the group ``arbench.datasets``:

[project.entry-points."arbench.datasets"]
stripes = "my_package.data:STRIPES"
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from harness.errors import ArbenchError
from harness.plugins.points import installed, load_named

GROUP = "arbench.datasets"


class Images(NamedTuple):
    """Images with their labels."""

    images: Tensor  # uint8 [N, C, H, W]
    labels: Tensor  # int64 [N]
    sha256: str  # hash of the files that images and labels came from


@dataclass(frozen=True)
class DataSet:
    """A data set. Methods make images like those of the data set. Scores compare the images of a method with those of
    the data set."""

    name: str
    shape: tuple[int, int, int]  # channels, height, width
    extractor: str  # name of the extractor for scores, if the user names no other
    classes: tuple[str, ...] = ()  # names of the classes, by label; empty if pages have no use for the names
    # Gives the images against which scores are measured. None if these images do not ship: users then give the path of
    # a reference with --reference.
    reference: Callable[[], Images] | None = None
    # Gives the training images. The arguments are the user's folder with the images, and a folder into which the images
    # may be downloaded. None if the data set has no training images that arbench can read by itself.
    training: Callable[[Path | None, Path | None], Images] | None = None
    instead: str = ""  # where users get a reference, if the images do not ship


@cache
def get(name: str) -> DataSet:
    """The data set of this name. Raises ArbenchError if there is none, or if its package cannot be imported."""
    found: DataSet = load_named("data set", name, installed(GROUP))
    return found


def known(name: str) -> DataSet | None:
    """The data set of this name; None if no installed package has a data set of this name. For example, another
    person's record can name a data set from a package that is not installed here."""
    return get(name) if name in installed(GROUP) else None


def reference_images(name: str) -> Images:
    """The images against which scores are measured. Raises ArbenchError for an unknown name, for a damaged file, and
    for images that do not ship."""
    data = get(name)
    if data.reference is None:
        raise ArbenchError(f"data {name} do not ship with arbench: {data.instead}")
    return data.reference()


def training_images(name: str, folder: Path | None = None, download_to: Path | None = None) -> Images:
    """The training images, from ``folder`` or downloaded into ``download_to``. Some data sets also look for their
    training images in other places. Raises ArbenchError if there are no training images."""
    data = get(name)
    if data.training is None:
        raise ArbenchError(f"data {name} have no training images that arbench can read by themselves (valid: --data)")
    return data.training(folder, download_to)
