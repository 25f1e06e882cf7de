"""Images that other programs wrote: an .npz as guided-diffusion's evaluator takes it (``arr_0``, uint8 [N, H, W, C]) or
a folder of PNG or JPEG files. They are read in batches: 50,000 images of 256x256 are 10 GB.
"""

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.errors import ArbenchError

ARRAY = "arr_0"
SUFFIXES = (".png", ".jpg", ".jpeg")


class Samples(ABC):
    """A set of images. count: how many."""

    count: int

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in order, uint8 [up to size, 1 or 3, H, W]. Raises ArbenchError where the file is damaged."""


class ArraySamples(Samples):
    """The array ``arr_0`` of an .npz file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._opened() as file:
            self.count, *_ = self._shape(file)

    def _opened(self) -> IO[bytes]:
        try:
            return zipfile.ZipFile(self.path).open(f"{ARRAY}.npy")
        except KeyError as error:
            raise ArbenchError(f"{self.path} holds no array {ARRAY}") from error
        except (OSError, zipfile.BadZipFile) as error:
            raise ArbenchError(f"cannot read {self.path}: {error}") from error

    def _shape(self, file: IO[bytes]) -> tuple[int, int, int, int]:
        try:
            version = np.lib.format.read_magic(file)
            reader: Any = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
            shape, fortran, dtype = reader(file)
        except (ValueError, AttributeError) as error:
            raise ArbenchError(f"cannot read {self.path}: {error}") from error
        if dtype != np.uint8 or fortran or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
            raise ArbenchError(f"{self.path}: {ARRAY} is {dtype} {shape} (valid: uint8 [N, H, W, 1 or 3])")
        return shape

    def batches(self, size: int) -> Iterator[Tensor]:
        with self._opened() as file:
            count, *image = self._shape(file)
            for start in range(0, count, size):
                shape = (min(size, count - start), *image)
                yield _channels_first(np.frombuffer(self._exactly(file, int(np.prod(shape))), np.uint8).reshape(shape))

    def _exactly(self, file: IO[bytes], length: int) -> bytearray:
        try:
            content = bytearray(file.read(length))
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise ArbenchError(f"cannot read {self.path}: {error}") from error
        if len(content) != length:
            raise ArbenchError(f"{self.path} is cut short: {ARRAY} ends before its last image")
        return content


class FolderSamples(Samples):
    """All PNG and JPEG files under a folder, by name. They must be of one size."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        self.count = len(self.files)
        if not self.files:
            raise ArbenchError(f"{path} holds no images (valid: {', '.join(SUFFIXES)})")

    def batches(self, size: int) -> Iterator[Tensor]:
        first = self._read(self.files[0]).shape
        for start in range(0, self.count, size):
            batch = []
            for file in self.files[start : start + size]:
                batch.append(self._read(file))
                if batch[-1].shape != first:
                    raise ArbenchError(f"{file} is {batch[-1].shape[:2]}, {self.files[0]} is {first[:2]}: not one size")
            yield _channels_first(np.stack(batch))

    def _read(self, file: Path) -> NDArray[np.uint8]:
        try:
            with Image.open(file) as image:
                return np.array(image.convert("RGB"))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise ArbenchError(f"cannot read {file}: {error}") from error


def open_samples(path: Path) -> Samples:
    """The images of an .npz file or a folder. Raises ArbenchError if it is neither, or holds none."""
    if path.is_dir():
        return FolderSamples(path)
    if not path.exists():
        raise ArbenchError(f"{path}: there is no such file or folder")
    return ArraySamples(path)


def _channels_first(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
