"""``nox -s coverage``: whether FID's intervals hold what they say, on real images.

The training images are the reference, the test images the population. A resample is as many test images drawn with
replacement, as many of each class; the value at infinitely many such images is the FID of the test images with equal
weights: the full-sample value. The interval of FID-infinity is to hold it, that of the plain FID the plain FIDs' mean.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from harness.extractors import base, by_name
from harness.images.datasets import Images, reference_images, training_images
from harness.stages.quality.distributions import Gaussian, Moments, frechet
from harness.stages.quality.resampling import Resampling, frechet_replicates, interval


@dataclass(frozen=True)
class Population:
    """Features [N, D], their labels [N], and the reference that they are held against."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    reference: Gaussian

    @property
    def true(self) -> float:
        """The full-sample value: FID of the images as a whole, with their own mean and their covariance over N."""
        moments = Moments.of(self.features)
        return frechet(Gaussian(moments.mean, moments.scatter / moments.n), self.reference)


def covered(population: Population, images: int, resamples: int, seed: int = 0) -> tuple[float, float]:
    """Share of resamples whose interval of FID-infinity holds the full-sample value, and whose interval of the plain
    FID holds the mean of all plain FIDs. images: of each resample, as many of each class."""
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(population.labels == one) for one in np.unique(population.labels)]
    found = []
    for _ in range(resamples):
        chosen = np.concatenate([rng.choice(one, images // len(classes)) for one in classes])
        draws = Resampling(population.labels[chosen])
        replicated = frechet_replicates(population.features[chosen], population.reference, draws)
        assert replicated is not None and replicated.infinite is not None
        found.append((replicated.value, replicated.infinite, *interval(0.0, replicated.replicates)))
    plain, infinite, low, high = np.array(found).T
    hits = [
        ((value + low <= target) & (target <= value + high)).mean()
        for value, target in ((infinite, population.true), (plain, plain.mean()))
    ]
    return float(hits[0]), float(hits[1])


def seen(images: Images, extractor: base.Extractor) -> NDArray[np.float32]:
    """Features of all images."""
    return torch.cat([extractor.features(part)["features"] for part in images.images.split(500)]).numpy()


def main() -> None:
    """Print both shares."""
    parser = argparse.ArgumentParser(prog="nox -s coverage --")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the training images' .gz files")
    parser.add_argument("--download", type=Path, metavar="FOLDER", help="where to put them if they must be fetched")
    parser.add_argument("--images", type=int, default=5000, metavar="N", help="a resample (default: %(default)s)")
    parser.add_argument("--resamples", type=int, default=200, metavar="N", help="(default: %(default)s)")
    asked = parser.parse_args()
    extractor = by_name.load("fmnist-cnn")
    tested = reference_images("fmnist")
    against = Moments.of(seen(training_images("fmnist", asked.data, asked.download), extractor)).gaussian()
    population = Population(seen(tested, extractor), tested.labels.numpy(), against)
    infinite, plain = covered(population, asked.images, asked.resamples)
    print(f"full-sample value {population.true:.4f}; {asked.resamples} resamples of {asked.images} images")
    print(f"FID-infinity's 95 % interval holds it in {infinite:.1%}; the plain FID's holds its mean in {plain:.1%}")


if __name__ == "__main__":
    main()
