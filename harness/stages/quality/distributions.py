"""Metrics that compare distributions: Fréchet distance and inception score, as pure functions of feature arrays.

The metrics that compare image with image are in the module ``pairs``. No result depends on the order of the rows,
except by rounding.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from harness.errors import ArbenchError
from harness.stages.quality.features import _BLOCK, Array, blocks, checked, same_width


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of features, float64."""

    mean: Array  # [D]
    covariance: Array  # [D, D], with the divisor n - 1
    n: int | None = None  # number of images; None where a file does not say

    @classmethod
    def stored(cls, mean: object, covariance: object, source: str, n: int | None = None) -> Self:
        """Makes a Gaussian from the statistics in a file (ADM's ``mu`` and ``sigma``), float32 or float64.

        Raises an ArbenchError that names ``source`` if mean and covariance do not fit each other in shape, if the
        covariance is not symmetric, or if a value is not finite.
        """
        mean, covariance = np.asarray(mean), np.asarray(covariance)
        size = mean.size
        if mean.ndim != 1 or covariance.shape != (size, size):
            raise ArbenchError(f"{source}: mean {mean.shape} and covariance {covariance.shape} (valid: [D] and [D, D])")
        if any(array.dtype not in (np.float32, np.float64) for array in (mean, covariance)):
            raise ArbenchError(f"{source}: types {mean.dtype}, {covariance.dtype} (valid: float32, float64)")
        mean, covariance = mean.astype(np.float64), covariance.astype(np.float64)
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise ArbenchError(f"{source}: the statistics hold values that are not finite")
        if not np.allclose(covariance, covariance.T, rtol=1e-3, atol=1e-6 * float(np.abs(covariance).max())):
            raise ArbenchError(f"{source}: the covariance is not symmetric")
        return cls(mean, (covariance + covariance.T) / 2, n)

    @property
    def dimensions(self) -> int:
        """The number of dimensions, D."""
        return self.mean.size

    @cached_property
    def root(self) -> Array:
        """A matrix R with R^T R = covariance. If the covariance has a Cholesky factor, R is this factor, transposed,
        because it is the cheapest to compute. Otherwise R is computed from eigenvalues and eigenvectors."""
        try:
            return np.asarray(np.linalg.cholesky(self.covariance).T, np.float64)
        except np.linalg.LinAlgError:
            values, vectors = np.linalg.eigh(self.covariance)
            return np.asarray(np.sqrt(values.clip(min=0))[:, None] * vectors.T, np.float64)


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of features, float64."""

    n: int  # number of images
    mean: Array  # [D]
    # [D, D], the sum of outer products of deviations from the mean. Raw sums would lose digits if the mean is far from
    # zero.
    scatter: Array

    @classmethod
    def of(cls, features: object) -> Self:
        """The moments of features [N, D]. Raises ArbenchError as ``checked`` does."""
        array = checked(features)
        mean = array.mean(axis=0, dtype=np.float64)
        scatter = np.zeros((mean.size, mean.size))
        for rows in blocks(len(array), _BLOCK):
            deviation = array[rows].astype(np.float64) - mean
            scatter += deviation.T @ deviation
        return cls(len(array), mean, scatter)

    def gaussian(self) -> Gaussian:
        """Mean and covariance. Raises ArbenchError for a single image, which has no covariance."""
        if self.n < 2:
            raise ArbenchError("a covariance takes 2 images or more, there is 1")
        return Gaussian(self.mean, self.scatter / (self.n - 1), self.n)


def frechet(one: Gaussian, other: Gaussian) -> float:
    """The squared Fréchet distance between two Gaussians, 0 or more.

    ``one`` has mean m1 and covariance S1; ``other`` has mean m2 and covariance S2. The squared distance is
    |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    The trace of (S1 S2)^(1/2) is computed from the eigenvalues of R S1 R^T, where R is ``other.root``, so that
    R^T R = S2. S1 S2 has the same eigenvalues. But R S1 R^T is symmetric: its eigenvalues are real by construction, and
    take less time to compute. ``other`` should be the reference, because ``other.root`` is cached.

    Raises ArbenchError if the two Gaussians differ in their number of dimensions.
    """
    same_width(one.dimensions, other.dimensions, "FID")
    apart = one.mean - other.mean
    squares = np.linalg.eigvalsh(other.root @ one.covariance @ other.root.T).clip(min=0)
    traces = np.trace(one.covariance) + np.trace(other.covariance)
    return max(float(apart @ apart + traces - 2 * np.sqrt(squares).sum()), 0.0)


def too_small(one: Gaussian) -> str | None:
    """A text if there are too few images for FID: with N <= D the covariance is singular, and FID is not usable. None
    if there are enough images, or if the number of images is not known."""
    if one.n is not None and one.n <= one.dimensions:
        return f"{one.n} images for {one.dimensions} dimensions: the covariance is singular, FID is far too high"
    return None


def fid(sample: Gaussian, reference: Gaussian) -> float:
    """The result of ``frechet``. Raises ArbenchError if the sample or the reference has too few images for the number
    of dimensions of the features (see ``too_small``)."""
    for side, gaussian in (("samples", sample), ("reference", reference)):
        if fault := too_small(gaussian):
            raise ArbenchError(f"FID: {side}: {fault}")
    return frechet(sample, reference)


@dataclass(frozen=True)
class Posteriors:
    """The sums from which the inception score is computed, in float64.

    Each image has a vector p: the probability of each class. p and p log p are summed over the images.
    """

    n: int  # number of images
    total: Array  # [C], sum of p
    negentropy: float  # sum of sum_c p log p

    @classmethod
    def of(cls, logits: object) -> Self:
        """Computes the sums from logits [N, C]. p is the softmax of an image's logits, in float64. Raises ArbenchError
        as ``checked`` does."""
        array = checked(logits, "logits")
        total, negentropy = np.zeros(array.shape[1]), 0.0
        for rows in blocks(len(array), _BLOCK):
            block = array[rows].astype(np.float64)
            block -= block.max(axis=1, keepdims=True)
            log_p = block - np.log(np.exp(block).sum(axis=1, keepdims=True))
            p = np.exp(log_p)
            total += p.sum(axis=0)
            negentropy += float((p * log_p).sum())
        return cls(len(array), total, negentropy)

    def score(self) -> float:
        """The inception score, from 1 to C. The KL divergence between p and the mean of p is averaged over the images;
        the score is exp of this average.

        The score is computed in one split over all images, so that file order does not matter (torch-fidelity's
        ``isc_splits=1``). Published scores are often averages over ten splits, which are a little lower.
        """
        return float(inception_scores(self.total, np.asarray(self.negentropy), self.n))


def inception_scores(total: Array, negentropy: Array, n: int) -> Array:
    """Inception scores [...], each of ``n`` images. They are computed from ``total`` [..., C] and ``negentropy`` [...],
    the sums that ``Posteriors`` explains."""
    mean = total / n
    entropy = np.where(mean > 0, mean * np.log(np.where(mean > 0, mean, 1)), 0)  # a class without images adds 0
    return np.exp(negentropy / n - entropy.sum(axis=-1))


def inception_score(logits: object) -> float:
    """The inception score of logits [N, C], one split; see ``Posteriors.score``."""
    return Posteriors.of(logits).score()
