"""Opens a set of images that other programs wrote. A set is one of these:

- an .npz as guided-diffusion's evaluator takes it (``arr_0``, uint8 [N, H, W, C])
- an .npy
- a folder of image files
- a WebDataset .tar
- several of these, one after another

Images are read in batches, because 50,000 images of 256x256 are 10 GB.
"""

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.errors import ArbenchError
from harness.file_kinds import TAR, what_is
from harness.images.arrays import ArrayFile, Header
from harness.images.listing import is_folder, pictures_under
from harness.images.pictures import Picture, centre_crop, read_picture
from harness.images.reading import AS_THEY_ARE, PictureSamples, Reading, Samples, channels_first
from harness.images.tars import TarSamples

ARRAY = "arr_0"
"""Name of the array that is read from an .npz if no other is named."""


class ArraySamples(Samples):
    """The images in one array of an .npz file, or in the array of an .npy file."""

    def __init__(self, path: Path, reading: Reading = AS_THEY_ARE) -> None:
        super().__init__(path, reading)
        self._file = ArrayFile(path)
        if self._file.is_npy and reading.key is not None:
            raise ArbenchError(f"{path} is one array without a name: --key is for .npz and .tar files")
        self._name = "" if self._file.is_npy else reading.key or ARRAY
        with self._file.opened(self._name) as (_, header):
            self.count = self._checked(header)[0]

    def _checked(self, header: Header) -> tuple[int, ...]:
        title, shape = f"{self.path}: {self._name or 'the array'} is {header}", header.shape
        if header.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
            channels_first = len(shape) == 4 and shape[1] in (1, 3)
            hint = "; the channels come last" if channels_first else ""
            raise ArbenchError(f"{title} (valid: uint8 [N, H, W, 1 or 3]{hint})")
        if header.fortran:
            raise ArbenchError(f"{title} in Fortran order, which is not read (np.ascontiguousarray before it is saved)")
        return shape

    def batches(self, size: int) -> Iterator[Tensor]:
        with self._file.opened(self._name) as (file, header):
            whole, *image = self._checked(header)
            for start in range(0, self.count, size):
                shape = (min(size, self.count - start), *image)
                yield self._sized(np.frombuffer(self._file.exactly(file, prod(shape)), np.uint8).reshape(shape))
            if self.count == whole:
                self._file.ended(file)

    def _sized(self, images: NDArray[np.uint8]) -> Tensor:
        side = self.reading.resize
        if side is not None and images.shape[1:3] != (side, side):
            grey = images.shape[3] == 1
            pictures = (Picture(centre_crop(Image.fromarray(one[:, :, 0] if grey else one), side)) for one in images)
            images = np.stack([picture.pixels() for picture in pictures])
        return channels_first(images)


class FolderSamples(PictureSamples):
    """All image files under a folder, in the order of their paths."""

    def __init__(self, path: Path, reading: Reading = AS_THEY_ARE) -> None:
        super().__init__(path, reading)
        if reading.key is not None:
            raise ArbenchError(f"{path} is a folder: --key is for .npz and .tar files")
        self.listing = pictures_under(path).must_hold_images()
        self.count = len(self.listing.files)

    def read(self, index: int) -> Picture:
        return read_picture(self.listing.files[index])

    def name(self, index: int) -> str:
        return str(self.listing.files[index])

    def listing_notes(self) -> Iterator[str]:
        return self.listing.notes()


class SeveralSamples(Samples):
    """Several sets of images that are read one after another, as if they were one set."""

    def __init__(self, parts: Sequence[Samples]) -> None:
        super().__init__(parts[0].path, parts[0].reading)
        self.parts = parts
        self.title = f"{parts[0].title} and {len(parts) - 1} more"
        self.count = sum(part.count for part in parts)
        for part in parts:
            part.remarks = self.remarks

    def limit(self, count: int) -> None:
        super().limit(count)
        left, kept = count, []
        for part in self.parts:
            if left:
                part.limit(min(part.count, left))
                left -= part.count
                kept.append(part)
        self.parts = kept

    def batches(self, size: int) -> Iterator[Tensor]:
        first: torch.Size | None = None
        for part in self.parts:
            for images in part.batches(size):
                first = first or images.shape[2:]
                if images.shape[2:] != first:
                    sizes = f"{tuple(images.shape[2:])}, those of {self.parts[0].title} {tuple(first)}"
                    raise ArbenchError(f"the images of {part.path} are {sizes}: not one size")
                yield images

    def listing_notes(self) -> Iterator[str]:
        for part in self.parts:
            yield from part.listing_notes()


def open_samples(paths: Path | Sequence[Path], reading: Reading = AS_THEY_ARE) -> Samples:
    """The images of files and folders, in the order given. Raises ArbenchError if a path is neither a file nor a
    folder, or holds no images."""
    parts = [_opened(path, reading) for path in ([paths] if isinstance(paths, Path) else paths)]
    whole = parts[0] if len(parts) == 1 else SeveralSamples(parts)
    if reading.images is not None:
        whole.limit(reading.images)
    return whole


def _opened(path: Path, reading: Reading) -> Samples:
    if is_folder(path):
        return FolderSamples(path, reading)
    kind = what_is(path)
    if kind == TAR:
        return TarSamples(path, reading)
    if kind.endswith("image"):
        raise ArbenchError(f"{path} is {kind}: give the folder that it lies in")
    if kind == "a gzip file":
        raise ArbenchError(f"{path} is {kind}: unpack it first (gunzip)")
    return ArraySamples(path, reading)
