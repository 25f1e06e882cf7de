"""``nox -s large``: the metrics at the size of published figures, 50,000 images of 2048 features, made up: seconds,
memory, and FID against torch-fidelity's. Exit code 1 if a bound is missed."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch_fidelity.metric_fid import fid_statistics_to_metric

from harness.machine.memory import peak_memory
from harness.progress import narrated
from harness.stages.quality.distributions import Gaussian, Moments, frechet
from harness.stages.quality.fidelity import Fidelity
from harness.stages.quality.pairs import Within
from harness.stages.quality.resampling import Resampling, frechet_replicates

Found = TypeVar("Found")

WIDTH = 2048
"""Features."""
FID_SECONDS, SMALL_SECONDS, LARGE_SECONDS, MEGABYTES, EQUAL = 6.0, 10.0, 600.0, 4000.0, 1e-6
"""Bounds: of FID's distance, of 1,000 replicates of a small extractor's and of Inception's FID, of the peak, of the
relative difference from torch-fidelity."""


def features(seed: int, count: int, width: int) -> NDArray[np.float32]:
    """Correlated, non-negative and partly zero, as Inception's are; float32 [count, width]."""
    mix = np.random.default_rng(99).standard_normal((width, width), np.float32) / np.sqrt(width, dtype=np.float32)
    mix *= np.geomspace(1, 0.05, width, dtype=np.float32)[:, None]
    drawn = np.random.default_rng(seed).standard_normal((count, width), np.float32)
    drawn = (1 + 0.1 * seed) * drawn @ mix
    return np.maximum(drawn, 0, out=drawn)


def timed(work: Callable[[], Found]) -> tuple[Found, float]:
    """What it returns, and its seconds."""
    began = time.perf_counter()
    found = work()
    return found, time.perf_counter() - began


def distance(one: Gaussian, other: Gaussian) -> tuple[float, float, float]:
    """Seconds of ours and of torch-fidelity's FID, and their relative difference."""
    ours, quick = timed(lambda: frechet(one, other))
    stored = [{"mu": side.mean, "sigma": side.covariance} for side in (one, other)]
    theirs, slow = timed(lambda: fid_statistics_to_metric(*stored, verbose=False)["frechet_inception_distance"])
    return quick, slow, abs(ours / float(theirs) - 1)


def small_replicates() -> float:
    """Seconds of 1,000 replicates of the small extractor's FID: 5,000 images of 128 features."""
    against = Moments.of(features(0, 10_000, 128)).gaussian()
    return timed(lambda: frechet_replicates(features(1, 5000, 128), against, Resampling(np.arange(5000) % 10)))[1]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="nox -s large --")
    parser.add_argument("--images", type=int, default=50_000, metavar="N", help="a side (default: %(default)s)")
    asked = parser.parse_args()
    missed = []

    def tell(what: str, value: float, bound: float, unit: str) -> None:
        missed.extend([what] if value > bound else [])
        print(f"{what}: {value:.3g} {unit} (bound: {bound:g})", flush=True)

    tell("1,000 replicates of FID, 5,000 images of 128 features", small_replicates(), SMALL_SECONDS, "s")
    with peak_memory(torch.device("cpu")) as memory:
        sample, reference = (features(seed, asked.images, WIDTH) for seed in (1, 0))
        one, other = (Moments.of(side).gaussian() for side in (sample, reference))
        quick, slow, apart = distance(one, other)
        tell(f"FID at {WIDTH} dimensions", quick, FID_SECONDS, "s")
        tell(f"its difference from torch-fidelity's, which takes {slow:.3g} s", apart, EQUAL, "of it")
        found = Fidelity(Resampling(np.arange(asked.images) % 1000), narrated())
        _, seconds = timed(lambda: found.frechet("made up", sample, other))
        tell(f"1,000 replicates of FID, {asked.images:,} images", seconds, LARGE_SECONDS, "s")
        within, alone = timed(lambda: Within.of(reference, "reference", narrated()("reference among itself")))
        _, pairs = timed(lambda: found.pairs(sample, within))
        print(f"precision, recall, density, coverage, KID: {alone + pairs:.0f} s, {alone:.0f} s of it the reference's")
    tell("peak memory of all this", memory["peak_memory_mb"] or 0.0, MEGABYTES, "MB")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
