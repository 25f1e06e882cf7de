"""Stage 1: images of a trial in shards; kept are features, logits, steps and a few thumbnails, not the images.

A shard is a range of image indices and one .npz. Image i has a label and noise keyed by (seed, i), so it does not
matter how a trial is cut, or who computes what.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness import files, traces
from harness.errors import ArbenchError
from harness.inputs import inputs
from harness.method import Method
from harness.reference import Extractor
from harness.setup import to_uint8
from harness.trial import Trial

THUMBNAILS = 40
"""Images 0 to 39 are kept as they are: with 10 classes, four of each."""

UNKNOWN_CODE = "unknown"
"""In the place of a code's hash, for files that were written before files carried one."""

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Shards:
    """The shards of one trial: a folder of START-STOP.npz files, STOP excluded."""

    folder: Path
    images: int

    def missing(self, batch: int) -> list[range]:
        """Ranges of at most ``batch`` images that no finished shard covers, in order."""
        return list(_cut(self.images, self._present(), batch))

    def covers(self, indices: range) -> bool:
        """Whether finished shards, however cut, hold all of these images."""
        return not any(gap.start < indices.stop and indices.start < gap.stop for gap in self.missing(self.images))

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
        """All shards as one, rows by image index, as ``shard`` gives them (what some of them lack, as older ones may,
        is left out); ``thumbnails`` [n, C, H, W] of images 0 to n-1; ``seconds`` [] is their sum; ``code`` [] names the
        hashes of all code that made them, joined by +.

        Raises ArbenchError if images are missing.
        """
        if self.missing(1):
            raise ArbenchError(f"{self.folder} lacks {len(self.missing(1))} of {self.images} images")
        whole: Arrays = {}
        traced: Arrays = {}
        seconds, code = 0.0, set()
        held = Counter[str]()
        for start, stop, path in self._present():
            part = files.read_arrays(path)
            seconds += float(part.pop("seconds"))
            code.add(str(part.pop("code", UNKNOWN_CODE)))
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
        return {**whole, **traced, "seconds": np.array(seconds), "code": np.array("+".join(sorted(code)))}


def _cut(images: int, present: Iterable[tuple[int, int, Path]], batch: int) -> Iterator[range]:
    reached = 0
    for start, stop in [*((start, stop) for start, stop, _ in present), (images, images)]:
        while reached < start:
            end = min(reached + batch, start)
            yield range(reached, end)
            reached = end
        reached = max(reached, stop)


FEWEST = 16
"""Images that are computed together at the least: with fewer rows a CPU's matrix products are summed up in another
order, and one image in two hundred came out as another, by a draw next to a border."""


def padded(images: int) -> torch.Tensor:
    """Which of so many images to compute, int64: all, then the last again until there are FEWEST."""
    return torch.arange(max(images, FEWEST)).clamp(max=images - 1)


def shard(method: Method, extractors: Sequence[Extractor], trial: Trial, indices: range) -> Arrays:
    """Sample, decode and look at the images of a range of indices.

    Returns what the first extractor sees (``features`` float32 [n, D], ``logits`` float32 [n, classes], ``spatial``
    float32 [n, S] if it has that), of each other ``features NAME`` and so on, ``steps`` and ``labels`` int64 [n],
    ``fingerprints`` uint64 [n] of the tokens, ``thumbnails`` uint8 [up to n, C, H, W] (images below THUMBNAILS),
    ``seconds`` of sampling and decoding; of the shard that begins with image 0 the arrays of its trace
    (harness.traces), if there is one.
    """
    started = time.perf_counter()
    labels, noise = inputs(method, trial.seed, indices, trial.setup.labels)
    traced = min(len(indices), traces.IMAGES) if indices.start == 0 else 0
    heard = traces.listening(traced) if traced else nullcontext()
    with torch.inference_mode(), heard as trace:
        rows, count = padded(len(indices)), len(indices)
        generated = method.sample(labels[rows], noise[rows], trial.knobs, trial.sampling)
        images = to_uint8(method.decode(generated.tokens), trial.setup.uint8)
        seconds = time.perf_counter() - started
        seen = {
            f"{name} {one.name}" if place else name: values.numpy()[:count]
            for place, one in enumerate(extractors)
            for name, values in one.features(images).items()
        }
    return {
        **seen,
        **(trace.arrays(method, trial.knobs) if trace else {}),
        "steps": generated.steps[:count].cpu().numpy().astype(np.int64),
        "labels": labels.cpu().numpy(),
        "fingerprints": fingerprints(generated.tokens[:count]),
        "thumbnails": images[: min(count, max(0, THUMBNAILS - indices.start))].cpu().numpy(),
        "seconds": np.array(seconds),
    }


def fingerprints(tokens: torch.Tensor) -> NDArray[np.uint64]:
    """A hash of each image's tokens, int64 [n, positions] -> uint64 [n]: whether two runs drew the same image can then
    be told without keeping either."""
    rows = tokens.cpu().numpy().astype("<i8")
    return np.frombuffer(b"".join(blake2b(row, digest_size=8).digest() for row in rows), "<u8").astype(np.uint64)


def seen_by(arrays: Arrays, extractor: str = "") -> Arrays:
    """What an extractor saw in the images of ``Shards.merge``: the first one, or one of the others by its name."""
    names = {name: f"{name} {extractor}".strip() for name in ("features", "logits", "spatial")}
    return {name: arrays[kept] for name, kept in names.items() if kept in arrays}


def summary(arrays: Arrays) -> dict[str, Any]:
    """The ``generate`` part of a record: images, mean and spread of the steps really taken, seconds, and ``code``."""
    steps = arrays["steps"].astype(np.float64)
    return {
        "images": len(steps),
        "steps_mean": float(steps.mean()),
        "steps_std": float(steps.std()),
        "seconds": float(arrays["seconds"]),
        "code": str(arrays.get("code", UNKNOWN_CODE)),
    }
