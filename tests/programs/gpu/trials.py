"""The trials whose images are compared, and how their images are made by the stage generate."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.extractors.base import Extractor
from harness.method import KnobValue, Method
from harness.setup import in_precision
from harness.stages.generate.shards import Arrays
from harness.stages.generate.stage import prepared, shard
from harness.trial import Trial
from tests.official.one import random_method
from tests.programs.gpu.settings import Settings

SPARSE: dict[str, KnobValue] = {"ffn_sparsity": 0.5, "token_sparsity": 0.5}
FMNIST: tuple[tuple[str, dict[str, KnobValue]], ...] = (
    ("raster", {}),
    ("ear", {"steps": 7}),
    ("ear", {"steps": 49, "adaptive": 20.0}),
    ("raster-blocks", {"steps": 7}),
    ("random-order", {"steps": 7}),
    ("var", {}),
    ("actvar", SPARSE),
    ("var-static", SPARSE),
    ("actvar-random", SPARSE),
)
"""Every bundled method with its fmnist preset, as tests/reproduce/test_invariance.py has them."""
PRECISIONS = ("fp32", "bf16")
COMPARED = ("fingerprints", "steps", "labels", "features pixels")
"""The arrays of a shard that say whether its images are the same: tokens, steps, labels, and the decoded pixels."""


@dataclass(frozen=True)
class Group:
    """Trials that share a line of the table."""

    name: str
    trials: tuple[Trial, ...]
    killed: bool  # whether a process is killed in the middle of the first of them, and started again


class Pixels(Extractor):
    """Stands for an extractor: its only feature is a hash of the image's bytes."""

    def __init__(self) -> None:
        super().__init__("pixels", torch.nn.Identity(), Path("pixels"))

    def see(self, images: Tensor) -> dict[str, Tensor]:
        """images: uint8 [B, C, H, W] -> ``features``, int64 [B, 1]."""
        rows = images.cpu().flatten(1).numpy()
        digests = b"".join(blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
        return {"features": torch.from_numpy(np.frombuffer(digests, "<i8").copy())[:, None]}


def fmnist_trials(settings: Settings, precision: str, images: int, compute_batch: int | None = None) -> list[Trial]:
    """The trials of fmnist's methods on their bundled weights.

    compute_batch: None takes the preset's own.
    """
    setup = {"precision": precision, **({} if compute_batch is None else {"compute_batch": compute_batch})}
    return [
        Trial.of(method, "fmnist", knobs, images=images, setup=setup)
        for method, knobs in FMNIST
        if settings.fmnist is None or method in settings.fmnist
    ]


def groups(settings: Settings) -> Iterator[Group]:
    """All trials of the part ``same``, by line of the table."""
    for precision in PRECISIONS:
        trials = fmnist_trials(settings, precision, *settings.small)
        yield Group(f"fmnist, {len(trials)} trials, {precision}", tuple(trials), "fmnist" in settings.killed)
        for name, (method, preset) in settings.presets.items():
            images, compute_batch = settings.large[precision][name]
            setup = {"precision": precision, "compute_batch": compute_batch, "weights": "random"}
            trial = Trial.of(method, preset, images=images, setup=setup)
            killed = precision == "bf16" and name in settings.killed
            yield Group(f"{name}, {images} images, {compute_batch} at once, {precision}", (trial,), killed)


def loaded(trial: Trial, device: torch.device) -> Method:
    """The method of a trial, on a device."""
    setup = trial.setup
    if setup.weights == "random":
        method = random_method(trial.owner, trial.preset, setup.precision, device)
    else:
        method = trial.owner.load(trial.preset).eval()
        in_precision(method, setup.precision)
        method.to(device).pack()
    method.tf32 = setup.tf32
    return method


class Maker:
    """Makes images of one trial by the stage generate."""

    def __init__(self, trial: Trial, device: torch.device, capture: str, others: tuple[Extractor, ...] = ()) -> None:
        """capture: off or graph; others: extractors whose features are kept, beside the hash of the pixels"""
        self.trial, self._method = trial, loaded(trial, device)
        self._run = prepared(self._method, trial, capture)
        self._extractors = (*others, Pixels())

    def shard(self, indices: range) -> Arrays:
        """The arrays of one shard. The hashes of the pixels are always in ``features pixels``."""
        found = shard(self._method, self._extractors, self.trial, indices, self._run)
        if len(self._extractors) == 1:
            found["features pixels"] = found.pop("features")
        return found

    def cut(self, shards: int) -> Arrays:
        """The arrays in ``COMPARED`` of all images, computed in so many shards."""
        count = self.trial.images
        ends = [count * place // shards for place in range(shards + 1)]
        parts = [self.shard(range(*pair)) for pair in zip(ends, ends[1:], strict=False)]
        return {name: np.concatenate([part[name] for part in parts]) for name in COMPARED}


def share_alike(one: Arrays, other: Arrays) -> float:
    """The share of images that are the same, bit for bit."""
    rows = [(one[name] == other[name]).reshape(len(one[name]), -1).all(axis=1) for name in COMPARED]
    return float(np.logical_and.reduce(rows).mean())
