"""Lists training images in a folder with one sub-folder per class, as ImageNet is unpacked, and divides them into
chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.errors import ArbenchError
from harness.hashing import digest
from harness.images.listing import Listing, class_folders, is_hidden, pictures_under
from harness.images.pictures import SUFFIXES
from harness.training.recipe import Context

if TYPE_CHECKING:
    from harness.training.processes import Processes  # it imports accelerate, which takes seconds


CHUNK = 4096
"""Images per chunk. The tokens of a chunk are kept in one file. Processes divide the chunks among themselves."""


@dataclass(frozen=True)
class FolderContext(Context):
    """The inputs of a recipe whose training images are in the folder ``data``.

    The folder ``data`` has a sub-folder for each class. These class folders are sorted by name, and class i is the
    folder with index i. The images of a class are sorted by path.
    """

    processes: "Processes | None" = None  # None: this process alone

    @property
    def device(self) -> torch.device:
        return self.processes.device if self.processes else super().device

    @cached_property
    def classes(self) -> list[Path]:
        """The class folders. Hidden folders do not count; links to folders do."""
        assert self.data is not None
        if not self.data.is_dir():
            raise ArbenchError(f"{self.data} is no folder")
        return class_folders(self.data)[0]

    @cached_property
    def listings(self) -> list[Listing]:
        """For each class folder, its images and the files that were left out."""
        return [pictures_under(folder) for folder in self.classes]

    @cached_property
    def files(self) -> list[tuple[Path, int]]:
        """For each training image, its path and the index of its class."""
        found = [(path, label) for label, listing in enumerate(self.listings) for path in listing.files]
        if not found:
            valid = ", ".join(sorted(SUFFIXES))
            raise ArbenchError(f"{self.data} holds no class folders with images ({valid})")
        return found

    def must_have(self, classes: int, preset: str) -> None:
        """Raises ArbenchError if the number of class folders is not the preset's number of classes.

        A label is the index of a class folder. With more or fewer folders, a label would mean another class than in the
        preset.
        """
        assert self.data is not None
        if len(self.classes) != classes:
            raise ArbenchError(
                f"{self.data} holds {len(self.classes)} class folders, preset {preset} has {classes} classes"
            )

    def notes(self) -> Iterator[str]:
        """Messages that say which files were left out, and which class folders hold no images."""
        assert self.data is not None
        beside = class_folders(self.data)[1]
        hidden = tuple(name for name in beside if is_hidden(name))
        loose = [name for name in beside if not is_hidden(name)]
        hidden += tuple(f"{one.folder.name}/{name}" for one in self.listings for name in one.hidden)
        others = tuple(suffix for one in self.listings for suffix in one.others)
        twice = tuple(f"{one.folder.name}/{name}" for one in self.listings for name in one.twice)
        yield from Listing(self.data, (), hidden, others, twice).notes()
        if loose:
            yield f"{self.data}: {len(loose)} files beside the class folders have no class and were left out"
        if empty := [one.folder.name for one in self.listings if not one.files]:
            yield f"{self.data}: {len(empty)} class folders hold no images ({', '.join(empty[:3])})"

    @cached_property
    def data_sha256(self) -> str:
        """Hash of the files' names and sizes. The content is left out: reading all of ImageNet would take too long."""
        assert self.data is not None
        return digest([[str(path.relative_to(self.data)), path.stat().st_size] for path, _ in self.files])

    def chunks(self) -> Iterator[tuple[int, list[Path]]]:
        """Yields chunks: the index of the chunk, and the paths of its images. If there are several processes, each
        process yields only its own share of the chunks."""
        count, index = (self.processes.count, self.processes.index) if self.processes else (1, 0)
        for number in range(index, -(-len(self.files) // CHUNK), count):
            yield number, [path for path, _ in self.files[number * CHUNK : (number + 1) * CHUNK]]

    def labels(self) -> Tensor:
        """The class of each image, int64 [N]."""
        return torch.tensor([label for _, label in self.files])
