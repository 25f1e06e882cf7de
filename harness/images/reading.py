"""Sets of images that are scored. A set is read in batches. harness.images.samples opens sets."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ArbenchError, one_line
from harness.images.pictures import REMARKS, Picture


@dataclass(frozen=True)
class Reading:
    """Options of reading images."""

    resize: int | None = None  # each image is centre-cropped to this side in pixels, as in guided-diffusion
    images: int | None = None  # how many images are read, from the first on; None: all
    key: str | None = None  # name of the array in an .npz, or ending of the images' names in a .tar


AS_THEY_ARE = Reading()


class Samples(ABC):
    """A set of images of one size."""

    count: int  # number of images

    def __init__(self, path: Path, reading: Reading = AS_THEY_ARE) -> None:
        self.path, self.reading = path, reading
        self.title = one_line(str(path))  # the name of the set in printed text
        self.remarks: Counter[str] = Counter()  # keys of pictures.REMARKS, counted over the images read so far

    @abstractmethod
    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, up to ``size`` at a time: uint8 [B, 1 or 3, H, W].

        Raises ArbenchError for a damaged file.
        """

    def limit(self, count: int) -> None:
        """Keep only the first ``count`` images. Raises ArbenchError if there are fewer."""
        if count > self.count:
            raise ArbenchError(f"{self.path} holds {self.count} images, {count} were asked for (--images)")
        self.count = count

    def listing_notes(self) -> Iterator[str]:
        """Messages on what was left out when the images were listed."""
        return iter(())

    def notes(self) -> list[str]:
        """All messages on the set: what was left out, and the remarks on the images read so far."""
        remarked = [f"{count} of {self.count} images {REMARKS[kind]}" for kind, count in sorted(self.remarks.items())]
        return [*self.listing_notes(), *remarked]


class PictureSamples(Samples):
    """A set of images in which every image is a separate file."""

    @abstractmethod
    def read(self, index: int) -> Picture:
        """The image with this index, in RGB."""

    @abstractmethod
    def name(self, index: int) -> str:
        """The name of the image with this index, for messages."""

    def batches(self, size: int) -> Iterator[Tensor]:
        first: tuple[int, ...] = ()
        for start in range(0, self.count, size):
            batch = []
            for index in range(start, min(start + size, self.count)):
                picture = self.read(index)
                self.remarks.update(picture.remarks)
                if self.reading.resize is not None:
                    picture = picture.cropped(self.reading.resize)
                batch.append(picture.pixels())
                first = first or batch[-1].shape
                if batch[-1].shape != first:
                    raise ArbenchError(
                        f"{self.name(index)} is {batch[-1].shape[:2]}, {self.name(0)} is {first[:2]}: not one size "
                        "(--resize SIDE crops all to one)"
                    )
            yield channels_first(np.stack(batch))


def channels_first(images: NDArray[np.uint8]) -> Tensor:
    """uint8 [N, H, W, C] -> [N, C, H, W]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
