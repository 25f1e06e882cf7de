"""Replicates of a metric: values that the metric might have had with other images. They come from a bootstrap over
groups of images.

Images are dealt into groups. If the number of images of each class was fixed beforehand, each class is spread evenly
over the groups. If the class of each image was drawn at random, images are dealt into groups at random, whatever their
class. For each replicate, whole groups are drawn with replacement. Drawing groups takes only a fraction of the work of
drawing single images. The spread of the replicates of a mean is the same either way, if images are independent.

The draws depend only on the number of images and on their labels. Two trials with the same labels therefore get the
same draws. If the seed is the same, too, image i of both trials is made from the same random numbers. For the
difference between two such trials, each replicate is the difference between the trials' replicates.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.stages import CONFIDENCE
from harness.stages.quality.distributions import Gaussian, Moments, Posteriors, frechet, inception_scores
from harness.stages.quality.features import Array, Tell, blocks, checked, same_width, silent

REPLICATES, GROUPS, SEED = 1000, 250, 2606
FEWEST_GROUPS = 50
"""Minimum number of groups, even if a group then cannot hold every class; intervals are then a little too wide."""
FEWEST, SETTLED = 2, 10
"""Minimum number of images per feature dimension: FEWEST for replicates of FID, SETTLED for FID-infinity. With fewer
images, the covariance is too noisy for the second-order expansion. With a number from FEWEST to SETTLED, the interval
of FID is too wide rather than too narrow."""
_NULL = 1e-10  # directions whose eigenvalue is below this share of the largest are left out: images do not differ there
_ROWS = 2048  # images taken at a time
_TILE = 2**23  # numbers held at a time while groups are compared: 32 MB


class Resampling:
    """The bootstrap draws for a set of images.

    labels: int [N], the classes asked for. If the class of each image was drawn at random, the caller passes 0 for
        every image: a class then has no fixed share of the images.
    """

    def __init__(self, labels: NDArray[np.integer[Any]]) -> None:
        count = len(labels)
        fitting = min(GROUPS, count // len(np.unique(labels)))  # with this many, every group holds every class
        self.groups = max(fitting, min(FEWEST_GROUPS, count))  # G
        rng = np.random.default_rng(SEED)
        mixed = rng.permutation(count)
        by_class = mixed[np.argsort(labels[mixed], kind="stable")]
        self.group, self.place = np.empty((2, count), np.int64)  # [N]: each image's group, and position in the group
        self.place[by_class], self.group[by_class] = np.divmod(np.arange(count), self.groups)
        self.sizes = np.bincount(self.group, minlength=self.groups)  # int [G]
        drawn = rng.multinomial(self.groups, np.full(self.groups, 1 / self.groups), REPLICATES).astype(np.float64)
        # float64 [REPLICATES, G], how often each group was drawn, scaled so that N images are drawn
        self.weights: Array = drawn * (count / (drawn @ self.sizes))[:, None]

    def sums(self, values: NDArray[Any]) -> Array:
        """Sums the values [N] over the images of each group: float64 [G]."""
        return np.asarray(np.bincount(self.group, values.astype(np.float64), self.groups), np.float64)

    def means(self, values: NDArray[Any]) -> Array:
        """Bootstrap replicates [REPLICATES] of the mean of values [N]."""
        return self.weights @ self.sums(values) / len(self.group)

    def shares(self, alone: NDArray[np.integer[Any]], value: float, count: int) -> Array:
        """Bootstrap replicates of recall or coverage. Both are shares of the references: a reference counts if at least
        one sample holds it (see ``pairs._Holders``).

        value: the recall or coverage of all samples.
        alone: [G], for each group, the number of references that only samples of this group hold. Without the group,
            these references would not count.
        count: number of all references.

        The share is not computed anew for each bootstrap draw. A draw leaves some groups out entirely. So the share of
        a draw would be lower than the share of a new set of samples. Instead, we use a jackknife. It leaves out one
        group at a time and determines by how much the share falls. The replicates are computed from these differences.
        """
        return value + (self.weights - 1) @ alone / count

    def inception_score(self, logits: object) -> Array:
        """Bootstrap replicates of the inception score of logits [N, C]."""
        array = checked(logits, "logits")
        parts = [Posteriors.of(array[self.group == group]) for group in range(self.groups)]
        totals = self.weights @ np.stack([part.total for part in parts])
        return inception_scores(totals, self.weights @ [part.negentropy for part in parts], len(array))


@dataclass(frozen=True)
class FrechetReplicates:
    """A FID, and the values that it would have had with other images."""

    value: float  # the FID itself
    replicates: Array  # [REPLICATES]
    # By how much FID is too high because N is finite; None with fewer than SETTLED images per dimension.
    bias: float | None

    @property
    def infinite(self) -> float | None:
        """FID-infinity: FID extrapolated to infinitely many images. It is FID minus its bias. Chong and Forsyth (2020)
        draw a line through the FIDs of subsets instead. Their method estimates the same bias, but with more noise."""
        return None if self.bias is None else self.value - self.bias


def frechet_replicates(
    features: object,
    reference: Gaussian,
    draws: Resampling,
    tell: Tell = silent,
) -> FrechetReplicates | None:
    """FID of features [N, D] against a reference, with its replicates and its bias.

    In a replicate, each image has a weight: how often the image was drawn. Exact replicates would cost D^3 each. So FID
    is expanded to second order in the changes of the weights.

    FID contains the trace Tr M^(1/2), where M is R S R^T. S is the covariance of the samples, and R is
    ``reference.root`` (see ``distributions.frechet``). Let s_k be the square roots of the eigenvalues of M. If the
    weights change, M changes to M + E. Let E_kl be the entries of E in the basis of M's eigenvectors. To second order,
    Tr (M + E)^(1/2) = Tr M^(1/2) + sum E_kk / (2 s_k) - sum E_kl^2 / (4 s_k s_l (s_k + s_l)).

    The first-order terms of FID are the influence of each image. The replicates are computed from these terms. The mean
    of the second-order terms is the bias.

    Returns None with fewer than FEWEST images per dimension. ``tell`` is called with the share of the work that is
    done.
    """
    array = checked(features)
    same_width(array.shape[1], reference.dimensions, "FID")
    count, root = len(array), reference.root
    if count < FEWEST * reference.dimensions:
        return None
    sample = Moments.of(array).gaussian()
    values, vectors = np.linalg.eigh(root @ sample.covariance @ root.T)
    kept = values > _NULL * values[-1]
    s = np.sqrt(values[kept])
    along = root.T @ vectors[:, kept]
    influence = np.empty(count)
    grouped = np.zeros((draws.groups, int(draws.sizes.max()), len(s)), np.float32)  # shorter groups end with zeros
    for rows in blocks(count, _ROWS):
        away = array[rows] - sample.mean
        seen = away @ along
        influence[rows] = 2 * away @ (sample.mean - reference.mean)
        influence[rows] += np.square(away).sum(1) - (np.square(seen) / s).sum(1)
        grouped[draws.group[rows], draws.place[rows]] = seen
    value = frechet(sample, reference)
    replicates = value + draws.means(influence - influence.mean())
    bias = _bias(grouped, s, draws, tell) if count >= SETTLED * reference.dimensions else None
    return FrechetReplicates(value, replicates, bias)


def _bias(grouped: NDArray[np.float32], s: Array, draws: Resampling, tell: Tell) -> float:
    """Mean of the second-order terms of FID (see ``frechet_replicates``).

    grouped [G, largest, K]: the coordinates of each image along K eigenvectors, by group. ``largest`` is the number of
        images in the largest group. The rows of smaller groups end with zeros.
    s [K]: the square roots of the eigenvalues of these eigenvectors.
    """
    count, groups = len(draws.group), draws.groups
    total = float((np.square(grouped.sum(1, dtype=np.float64) / count) / s).sum())
    tensor, mean = torch.from_numpy(grouped), torch.from_numpy(np.outer(draws.sizes / count, s**2)).float()
    for rows in blocks(len(s), max(1, _TILE // (groups * len(s)))):
        apart = torch.bmm(tensor[:, :, rows].mT, tensor) / count
        places = torch.arange(rows.stop - rows.start)
        apart[:, places, rows.start + places] -= mean[:, rows]
        terms = torch.from_numpy(0.5 / (np.outer(s[rows], s) * np.add.outer(s[rows], s))).float()
        total += float((apart.square_().sum(0) * terms).sum(dtype=torch.float64))
        tell(rows.stop / len(s))
    return total * groups / max(groups - 1, 1)


def interval(value: float, replicates: Array, confidence: float = CONFIDENCE) -> list[float]:
    """The interval [low, high] of a metric, from its bootstrap replicates.

    A deviation is a replicate minus the mean of all replicates. ``low`` is ``value`` minus the upper quantile of the
    deviations. ``high`` is ``value`` minus the lower quantile of the deviations.
    """
    tails = np.quantile(replicates - replicates.mean(), [(1 - confidence) / 2, (1 + confidence) / 2])
    return [float(value - tails[1]), float(value - tails[0])]
