"""The stage generate: makes the images of a trial, in shards. It keeps features, logits, steps and some thumbnails, but
no images.

A shard is a range of image indices and one .npz. The label and noise of image i depend only on (seed, i), so it does
not matter how a trial is cut into shards, or which process computes which shard.
"""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness import traces
from harness.extractors.base import Extractor
from harness.inputs import inputs
from harness.method import Method
from harness.setup import to_uint8
from harness.stages.generate.shards import THUMBNAILS, UNKNOWN_CODE, Arrays
from harness.trial import Trial

FEWEST = 16
"""Least number of images that are computed together. With fewer rows a CPU sums its matrix products in another order,
and one image in two hundred came out different, because one of its draws fell next to a border."""


def padded(images: int) -> torch.Tensor:
    """Indices of the images to compute, int64: 0 to ``images`` - 1. The last index is repeated until there are at least
    FEWEST indices."""
    return torch.arange(max(images, FEWEST)).clamp(max=images - 1)


def shard(method: Method, extractors: Sequence[Extractor], trial: Trial, indices: range) -> Arrays:
    """Sample and decode the images of a range of indices, and extract their features.

    Returns these arrays:

    - from the first extractor: ``features`` float32 [n, D], ``logits`` float32 [n, classes], and, if the extractor has
      spatial features, ``spatial`` float32 [n, S]
    - from each other extractor: the same arrays, with the extractor's name appended (``features NAME``)
    - ``steps`` and ``labels``: int64 [n]
    - ``fingerprints``: uint64 [n], of the tokens
    - ``thumbnails``: uint8 [up to n, C, H, W], the images with an index below THUMBNAILS
    - ``seconds``: of sampling and decoding
    - the arrays of a trace (see harness.traces). A trace says at which step each position of an image was decided. It
      covers the first images of the trial. These arrays are left out if the shard does not begin with image 0, or if
      the method does not define ``Method.grids``
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
    """A hash of each image's tokens: int64 [n, positions] -> uint64 [n]. Comparing hashes shows whether two runs drew
    the same image, so the images themselves need not be kept."""
    rows = tokens.cpu().numpy().astype("<i8")
    return np.frombuffer(b"".join(blake2b(row, digest_size=8).digest() for row in rows), "<u8").astype(np.uint64)


def seen_by(arrays: Arrays, extractor: str = "") -> Arrays:
    """The arrays of ``Shards.merge`` that come from one extractor. extractor: its name; empty for the first one."""
    names = {name: f"{name} {extractor}".strip() for name in ("features", "logits", "spatial")}
    return {name: arrays[kept] for name, kept in names.items() if kept in arrays}


def summary(arrays: Arrays) -> dict[str, Any]:
    """The ``generate`` part of a record: the number of images, the mean and standard deviation of the steps that images
    really took, the seconds of sampling and decoding, and the hash of the code that made the images (``code``)."""
    steps = arrays["steps"].astype(np.float64)
    return {
        "images": len(steps),
        "steps_mean": float(steps.mean()),
        "steps_std": float(steps.std()),
        "seconds": float(arrays["seconds"]),
        "code": str(arrays.get("code", UNKNOWN_CODE)),
    }
