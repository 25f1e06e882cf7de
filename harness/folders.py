"""Training images in a folder, one sub-folder a class, as ImageNet is unpacked: read, cropped, cut into chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.errors import ArbenchError
from harness.hashing import digest
from harness.recipe import Context
from harness.samples import SUFFIXES

if TYPE_CHECKING:
    from harness.scale import Processes  # it imports accelerate, which takes seconds

CHUNK = 4096
"""Images whose tokens are kept in one file; processes share out the chunks."""


@dataclass(frozen=True)
class FolderContext(Context):
    """Images of ``data``, a folder of class folders, in the order of names; class i is the i-th folder."""

    processes: "Processes | None" = None

    @property
    def device(self) -> torch.device:
        return self.processes.device if self.processes else super().device

    @cached_property
    def classes(self) -> list[Path]:
        """The class folders."""
        assert self.data is not None
        if not self.data.is_dir():
            raise ArbenchError(f"{self.data} is no folder")
        return sorted(path for path in self.data.iterdir() if path.is_dir())

    @cached_property
    def files(self) -> list[tuple[Path, int]]:
        """(image, class) pairs."""
        found = [
            (path, label)
            for label, folder in enumerate(self.classes)
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in SUFFIXES
        ]
        if not found:
            raise ArbenchError(f"{self.data} holds no class folders with images ({', '.join(SUFFIXES)})")
        return found

    @cached_property
    def data_sha256(self) -> str:
        """Of names and sizes: reading every byte of ImageNet would take longer than it is worth."""
        assert self.data is not None
        return digest([[str(path.relative_to(self.data)), path.stat().st_size] for path, _ in self.files])

    def chunks(self) -> Iterator[tuple[int, list[Path]]]:
        """The images in chunks, numbered from 0: those of this process, if there are several."""
        count, index = (self.processes.count, self.processes.index) if self.processes else (1, 0)
        for number in range(index, -(-len(self.files) // CHUNK), count):
            yield number, [path for path, _ in self.files[number * CHUNK : (number + 1) * CHUNK]]

    def labels(self) -> Tensor:
        """int64 [N]."""
        return torch.tensor([label for _, label in self.files])


def read_image(path: Path, side: int, channels: int) -> Tensor:
    """uint8 [channels, side, side]: the shorter edge is brought to ``side`` (by halving, then bicubic), the middle is
    cut out. ArbenchError for a file that is no image."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB" if channels == 3 else "L")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ArbenchError(f"cannot read {path}: {error}") from error
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    factor = side / min(image.size)
    wide, high = max(side, round(image.width * factor)), max(side, round(image.height * factor))
    image = image.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = (wide - side) // 2, (high - side) // 2
    pixels = np.array(image.crop((left, top, left + side, top + side)))
    return torch.from_numpy(pixels).view(side, side, channels).permute(2, 0, 1).contiguous()
