"""The stage generate: makes the images of a trial, in shards. It keeps features, logits, steps and some thumbnails, but
no images.

A shard is a range of image indices and one .npz. It does not matter how a trial is cut into shards, or which process
computes which shard: the label and noise of image i depend only on (seed, i), and image i is always computed in the
same company, that of its compute batch (``harness.setup.compute_batches``). So an image is the same, bit for bit, even
if the method rounds differently with another number of rows, or with other images beside it.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness import traces
from harness.execution.modes import OFF
from harness.execution.running import Running, running, verified
from harness.extractors.base import Extractor
from harness.inputs import inputs
from harness.machine.arithmetic import arithmetic
from harness.method import Method
from harness.setup import compute_batches, to_uint8
from harness.stages.generate.shards import THUMBNAILS, UNKNOWN, Arrays
from harness.trial import Trial


def prepared(method: Method, trial: Trial, capture: str) -> Running:
    """The method's functions for compute batches of a trial. ``shard`` takes them.

    If they are captured, tokens and images of the trial's first compute batch are compared with those of the method as
    it is. They are captured on another batch.

    capture: off or graph (harness.execution.modes)

    Raises ArbenchError naming the trial if a token or an image differs.
    """
    size, policy = trial.setup.compute_batch, trial.setup.labels
    first = inputs(method, trial.seed, range(size), policy)
    other = inputs(method, trial.seed, range(size + 1, 2 * size + 1), policy)  # from an odd place: labels move as well
    with arithmetic(trial.setup.tf32):
        made = running(method, trial.knobs, trial.sampling, other, capture)
        if made.capture == OFF:
            return made
        plain = running(method, trial.knobs, trial.sampling, other, OFF)
        return verified(made, plain, *first, trial.name)


def shard(
    method: Method, extractors: Sequence[Extractor], trial: Trial, indices: range, run: Running | None = None
) -> Arrays:
    """Sample and decode the images of a range of indices, and extract their features.

    Whole compute batches are computed, also where the range begins or ends inside of one. Extractors see whole compute
    batches as well.

    run: what ``prepared`` gives; None runs the method as it is.

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
    run = run or prepared(method, trial, OFF)
    plain = run if run.capture == OFF else prepared(method, trial, OFF)
    parts: dict[str, list[NDArray[Any]]] = defaultdict(list)
    traced: Arrays = {}
    seconds = 0.0
    for batch in compute_batches(indices, trial.setup.compute_batch):
        wanted = slice(max(indices.start - batch.start, 0), indices.stop - batch.start)
        first = min(indices.stop, len(batch), traces.IMAGES) if batch.start == indices.start == 0 else 0
        # What is captured reports nothing when it is replayed.
        how = plain if first else run
        with traces.listening(first) if first else nullcontext() as trace:
            found, took = _compute(method, how, extractors, trial, batch)
        for name, rows in found.items():
            parts[name].append(rows[wanted])
        traced |= trace.arrays(method, trial.knobs) if trace else {}
        seconds += took
    whole = {name: np.concatenate(rows) for name, rows in parts.items()}
    return {**whole, **traced, "seconds": np.array(seconds)}


def _compute(
    method: Method, run: Running, extractors: Sequence[Extractor], trial: Trial, batch: range
) -> tuple[Arrays, float]:
    """Compute one compute batch. Returns the arrays of ``shard`` that have a row for each image, and the seconds of
    sampling and decoding. Of ``thumbnails``, only images with an index below THUMBNAILS are there."""
    started = time.perf_counter()
    labels, noise = inputs(method, trial.seed, batch, trial.setup.labels)
    with torch.inference_mode():
        with arithmetic(trial.setup.tf32):
            generated = run.sample(labels, noise)
            images = to_uint8(run.decode(generated.tokens), trial.setup.uint8)
        seconds = time.perf_counter() - started
        seen = {
            f"{name} {one.name}" if place else name: values.numpy()
            for place, one in enumerate(extractors)
            for name, values in one.see(images).items()
        }
    arrays = {
        **seen,
        "steps": generated.steps.cpu().numpy().astype(np.int64),
        "labels": labels.cpu().numpy(),
        "fingerprints": fingerprints(generated.tokens),
        "thumbnails": images[: max(0, THUMBNAILS - batch.start)].cpu().numpy(),
    }
    return arrays, seconds


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
    really took, the seconds of sampling and decoding, and what made the images: the hash of the code (``code``) and
    the kind of device (``device``; ``unknown`` in files of earlier versions)."""
    steps = arrays["steps"].astype(np.float64)
    return {
        "images": len(steps),
        "steps_mean": float(steps.mean()),
        "steps_std": float(steps.std()),
        "seconds": float(arrays["seconds"]),
        "code": str(arrays.get("code", UNKNOWN)),
        "device": str(arrays.get("device", UNKNOWN)),
    }
