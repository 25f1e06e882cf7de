"""The shards of a trial. A shard is a file for a range of image indices. This module finds the ranges that are missing,
and merges the files."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import files, traces
from harness.errors import ArbenchError

THUMBNAILS = 40
"""Images 0 to 39 are kept as they are: with 10 classes, four of each."""
UNKNOWN = "unknown"
"""Stands in place of the code's hash, or of the device, in files that were written before files had these."""
Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Shards:
    """The shards of one trial: a folder of START-STOP.npz files, STOP excluded."""

    folder: Path
    images: int  # of the whole trial
    compute_batch: int = 1  # ``Setup.compute_batch``: number of images that are computed at once

    def missing(self, batch: int) -> list[range]:
        """Ranges of images that no finished shard covers, in order. A range has at most ``shard_size`` images, and
        ends where a compute batch ends. batch: the number of images that a shard should have"""
        size = shard_size(batch, self.compute_batch)
        return list(_cut(self.images, self._present(), size, self.compute_batch))

    def covers(self, indices: range) -> bool:
        """Whether finished shards, of whatever sizes, hold all of these images."""
        return not any(gap.start < indices.stop and indices.start < gap.stop for gap in self.gaps())

    def gaps(self) -> list[range]:
        """The ranges of images that no finished shard covers, each in one piece."""
        return self.missing(self.images)

    def _present(self) -> list[tuple[int, int, Path]]:
        found = []
        for path in self.folder.glob("[0-9]*.npz"):
            start, _, stop = path.stem.partition("-")
            found.append((int(start), int(stop), path))
        return sorted(found)

    def path(self, indices: range) -> Path:
        """The file of a shard."""
        return self.folder / f"{indices.start:07d}-{indices.stop:07d}.npz"

    def remove(self) -> None:
        """Remove all shards, once they are merged."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def merge(self) -> Arrays:
        """Merge all shards into the arrays that ``shard`` returns, with rows in the order of image indices.

        If some shards lack an array, that array is left out; this happens with old shards. Four of the merged arrays
        are not simply the rows of all shards:

        - ``thumbnails`` [n, C, H, W]: the images 0 to n-1
        - ``seconds`` []: the sum over the shards
        - ``code`` []: the hashes of all code that made the shards, joined by +
        - ``device`` []: the kinds of devices that made the shards, joined by +; old shards have ``unknown``

        Raises ArbenchError if images are missing.
        """
        if gaps := self.gaps():
            raise ArbenchError(f"{self.folder} lacks {sum(map(len, gaps))} of {self.images} images")
        whole: Arrays = {}
        traced: Arrays = {}
        seconds, code, device = 0.0, set(), set()
        held = Counter[str]()
        for start, stop, path in self._present():
            part = files.read_arrays(path)
            seconds += float(part.pop("seconds"))
            code.add(str(part.pop("code", UNKNOWN)))
            device.add(str(part.pop("device", UNKNOWN)))
            thumbnails = part.pop("thumbnails")
            traced |= traces.kept(part)
            part = {name: rows for name, rows in part.items() if name not in traced}
            held.update(part.keys())
            for name, rows in part.items():
                whole.setdefault(name, np.empty((self.images, *rows.shape[1:]), rows.dtype))[start:stop] = rows
            kept = whole.setdefault(
                "thumbnails", np.empty((min(self.images, THUMBNAILS), *thumbnails.shape[1:]), np.uint8)
            )
            kept[start : start + len(thumbnails)] = thumbnails
        for name in [name for name, count in held.items() if count < max(held.values())]:
            del whole[name]
        origin = {"code": np.array("+".join(sorted(code))), "device": np.array("+".join(sorted(device)))}
        return {**whole, **traced, "seconds": np.array(seconds), **origin}


def shard_size(batch: int, compute_batch: int) -> int:
    """How many images a shard has: ``batch``, rounded up to whole compute batches. In a smaller shard, images would be
    computed that belong to another shard.

    batch: the number of images that was asked for
    compute_batch: ``Setup.compute_batch``
    """
    return -(-batch // compute_batch) * compute_batch


def _cut(images: int, present: Iterable[tuple[int, int, Path]], size: int, compute_batch: int) -> Iterator[range]:
    reached = 0
    for start, stop in [*((start, stop) for start, stop, _ in present), (images, images)]:
        while reached < start:
            end = min(reached // compute_batch * compute_batch + size, start)
            yield range(reached, end)
            reached = end
        reached = max(reached, stop)
