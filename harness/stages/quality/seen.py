"""Runs a set of images through Inception, and computes features and statistics."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ArbenchError
from harness.extractors.inception import InceptionExtractor
from harness.images.reading import AS_THEY_ARE, Reading, Samples
from harness.images.samples import open_samples
from harness.progress import Progress
from harness.stages.quality.distributions import Gaussian, Moments, inception_score

THUMBNAILS = 20
"""How many of the first images are kept for a leaderboard's pages."""


@dataclass(frozen=True)
class Seen:
    """The Inception features and statistics of a set of images."""

    # Where the images came from, in plain values; "batch" and "tf32": how they were computed; "notes": remarks on them.
    about: Mapping[str, Any]
    gaussian: Gaussian  # moments of features [N, 2048]
    spatial: Gaussian  # moments of the flattened spatial features [N, 2023]
    arrays: Mapping[str, NDArray[np.float32]]  # "features", "logits" and "spatial"
    is_: float  # inception score
    thumbnails: NDArray[np.uint8] | None = None  # the first images, [up to THUMBNAILS, 1 or 3, H, W]


def see(samples: Samples, extractor: InceptionExtractor, batch: int, advance: Callable[[int], None]) -> Seen:
    """Runs all images through Inception, ``batch`` at a time. After each batch, ``advance`` is called with the batch's
    number of images. Raises ArbenchError if images are damaged, or if there are fewer than two.

    If there are more images than ``batch``, a batch with fewer images, such as the last one, is filled with copies of
    its last image. So the features of an image do not depend on how many images there are, or on the files they are in.
    """
    arrays: dict[str, NDArray[np.float32]] = {}
    content, copies, done = hashlib.sha256(), _Copies(), 0
    first: list[NDArray[np.uint8]] = []
    size = min(batch, samples.count)
    for images in samples.batches(batch):
        content.update(images.numpy().data)
        copies.add(images)
        first.extend(images[: THUMBNAILS - len(first)].numpy().copy())
        filled = images[torch.arange(size).clamp(max=len(images) - 1)] if len(images) < size else images
        for name, values in extractor.see(filled).items():
            if name not in arrays:  # in full at once: joining parts at the end would take the memory twice
                arrays[name] = _room(samples, values.shape[1])
            arrays[name][done : done + len(images)] = values[: len(images)].cpu().numpy()
        done += len(images)
        advance(len(images))
    crop = {"resize": samples.reading.resize} if samples.reading.resize else {}
    how = {**crop, "batch": batch, "tf32": extractor.tf32, "notes": [*samples.notes(), *copies.notes(samples.count)]}
    return Seen(
        about={"path": samples.title, "images": samples.count, "sha256": content.hexdigest(), **how},
        gaussian=Moments.of(arrays["features"]).gaussian(),
        spatial=Moments.of(arrays["spatial"]).gaussian(),
        arrays=arrays,
        is_=inception_score(arrays["logits"]),
        thumbnails=np.stack(first) if len({one.shape for one in first}) == 1 else None,
    )


class _Copies:
    """Counts images that equal an earlier image, pixel by pixel."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self.count = 0

    def add(self, images: Tensor) -> None:
        for image in images.numpy():
            digest = hashlib.blake2b(image.data, digest_size=16).digest()
            self.count += digest in self._known
            self._known.add(digest)

    def notes(self, images: int) -> list[str]:
        return [f"{self.count} of {images} images are exact copies of others"] if self.count else []


def _room(samples: Samples, width: int) -> NDArray[np.float32]:
    try:
        return np.empty((samples.count, width), np.float32)
    except (MemoryError, ValueError) as error:
        gigabytes = samples.count * width * 4e-9
        raise ArbenchError(
            f"{samples.path}: features of {samples.count} images take {gigabytes:.3g} GB, more than there is"
        ) from error


def watched(
    paths: Path | Sequence[Path], extractor: InceptionExtractor, batch: int, reading: Reading = AS_THEY_ARE
) -> Seen:
    """``see`` for files and folders, with progress on the terminal."""
    samples = open_samples(paths, reading)
    progress = Progress(samples.count, "images")
    try:
        return see(samples, extractor, batch, lambda count: progress.advance(count, samples.path.name))
    finally:
        progress.close()
