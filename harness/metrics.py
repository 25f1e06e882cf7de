"""Fidelity metrics as pure functions of feature arrays: Fréchet distance, inception score, KID, precision and recall.

Features are float32 or float64 [N, D], a row an image. Nothing here depends on the order of the rows, but by rounding:
moments and class posteriors are sums (and merge, so that shards can be measured apart), KID's subsets are drawn from
rows put into an order of their own, precision and recall are counts. Every fault of the input is an ArbenchError.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ArbenchError

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]

KID_SUBSETS, KID_SUBSET, KID_SEED = 100, 1000, 2020
"""KID is the mean over 100 subsets of 1,000 images, torch-fidelity's defaults, its seed included."""
NEIGHBOUR = 3
"""Precision and recall take the distance to the 3rd nearest neighbour as radius (Kynkäänniemi et al. 2019)."""

_ROWS, _COLUMNS = 512, 2048  # a tile of distances, 8 MB: stays in the cache, which is worth a quarter of the time
_TIE = 1e-10  # distances this much beyond a radius, relatively, count as on it: rounding must not decide a tie


def checked(features: object, what: str = "features") -> Floats:
    """``features`` as a float array [N, D] on the CPU.

    Raises ArbenchError naming ``what`` for another type than float32 or float64 (uint8 images given for features, half
    precision), another shape, no rows, or values that are not finite.
    """
    array = features.detach().cpu() if isinstance(features, Tensor) else features
    if isinstance(array, Tensor) and array.dtype not in (torch.float32, torch.float64):
        raise ArbenchError(f"{what}: type {array.dtype} (valid: float32, float64)")
    array = np.asarray(array)
    if array.dtype not in (np.float32, np.float64):
        raise ArbenchError(f"{what}: type {array.dtype} (valid: float32, float64)")
    if array.ndim != 2 or 0 in array.shape:
        raise ArbenchError(f"{what}: shape {array.shape} (valid: [images, dimensions], one of each at least)")
    bad = sum(int((~np.isfinite(array[rows])).any(axis=1).sum()) for rows in _blocks(len(array), _COLUMNS))
    if bad:
        raise ArbenchError(f"{what}: {bad} of {len(array)} rows hold values that are not finite")
    return array


def _blocks(size: int, block: int) -> Iterator[slice]:
    return (slice(start, min(start + block, size)) for start in range(0, size, block))


def _same_width(one: int, other: int, what: str) -> None:
    if one != other:
        raise ArbenchError(f"{what}: the samples have {one} dimensions, the reference {other}: not the same extractor?")


# --- Fréchet distance ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaussian:
    """Mean [D] and covariance [D, D] (over n - 1), float64. ``n``: images behind it, None where a file does not say."""

    mean: Array
    covariance: Array
    n: int | None = None

    @classmethod
    def stored(cls, mean: object, covariance: object, source: str, n: int | None = None) -> Self:
        """Statistics that a file holds (ADM's ``mu`` and ``sigma``), float32 or float64, held to be of one shape,
        symmetric and finite. Raises ArbenchError naming ``source``."""
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
        """D."""
        return self.mean.size

    @cached_property
    def root(self) -> Array:
        """A matrix R with R^T R = covariance. Cholesky's where it exists, as it is the cheapest."""
        try:
            return np.asarray(np.linalg.cholesky(self.covariance).T, np.float64)
        except np.linalg.LinAlgError:
            values, vectors = np.linalg.eigh(self.covariance)
            return np.asarray(np.sqrt(values.clip(min=0))[:, None] * vectors.T, np.float64)


@dataclass(frozen=True)
class Moments:
    """Count, mean [D] and scatter [D, D] (the sum of outer products of deviations from the mean), float64.

    Moments of shards merge exactly, whatever their order (to about 1e-12, relatively). Deviations and not raw sums, so
    that a mean far from zero costs no digits.
    """

    n: int
    mean: Array
    scatter: Array

    @classmethod
    def of(cls, features: object) -> Self:
        """The moments of features [N, D]. Raises ArbenchError as ``checked`` does."""
        array = checked(features)
        mean = array.mean(axis=0, dtype=np.float64)
        scatter = np.zeros((mean.size, mean.size))
        for rows in _blocks(len(array), _COLUMNS):
            deviation = array[rows].astype(np.float64) - mean
            scatter += deviation.T @ deviation
        return cls(len(array), mean, scatter)

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both sets together."""
        _same_width(other.mean.size, self.mean.size, "moments")
        n = self.n + other.n
        apart = other.mean - self.mean
        return Moments(
            n,
            (self.n * self.mean + other.n * other.mean) / n,
            self.scatter + other.scatter + np.outer(apart, apart) * (self.n * other.n / n),
        )

    def gaussian(self) -> Gaussian:
        """Mean and covariance. Raises ArbenchError for a single image, which has no covariance."""
        if self.n < 2:
            raise ArbenchError("a covariance takes 2 images or more, there is 1")
        return Gaussian(self.mean, self.scatter / (self.n - 1), self.n)


def frechet(one: Gaussian, other: Gaussian) -> float:
    """Squared Fréchet distance between two Gaussians: |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), 0 or more.

    The eigenvalues of S1 S2 are those of R S1 R^T with R^T R = S2, which is symmetric: real by construction, and
    faster. ``other.root`` is kept, so the reference belongs there. Raises ArbenchError where dimensions differ.
    """
    _same_width(one.dimensions, other.dimensions, "FID")
    apart = one.mean - other.mean
    squares = np.linalg.eigvalsh(other.root @ one.covariance @ other.root.T).clip(min=0)
    traces = np.trace(one.covariance) + np.trace(other.covariance)
    return max(float(apart @ apart + traces - 2 * np.sqrt(squares).sum()), 0.0)


def too_small(one: Gaussian) -> str | None:
    """Why a FID on so few images says little, or None: with N <= D the covariance is singular."""
    if one.n is not None and one.n <= one.dimensions:
        return f"{one.n} images for {one.dimensions} dimensions: the covariance is singular, FID is far too high"
    return None


def fid(sample: Gaussian, reference: Gaussian) -> float:
    """``frechet``, but an ArbenchError where either side has too few images for its dimension."""
    for side, gaussian in (("samples", sample), ("reference", reference)):
        if fault := too_small(gaussian):
            raise ArbenchError(f"FID: {side}: {fault}")
    return frechet(sample, reference)


# --- Inception score -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Posteriors:
    """Sums over images of the class posterior p [C] and of sum_c p log p, float64: all that the inception score needs.
    They merge as moments do."""

    n: int
    total: Array
    negentropy: float

    @classmethod
    def of(cls, logits: object) -> Self:
        """From logits [N, C]; p is their softmax, taken in float64. Raises ArbenchError as ``checked`` does."""
        array = checked(logits, "logits")
        total, negentropy = np.zeros(array.shape[1]), 0.0
        for rows in _blocks(len(array), _COLUMNS):
            block = array[rows].astype(np.float64)
            block -= block.max(axis=1, keepdims=True)
            log_p = block - np.log(np.exp(block).sum(axis=1, keepdims=True))
            p = np.exp(log_p)
            total += p.sum(axis=0)
            negentropy += float((p * log_p).sum())
        return cls(len(array), total, negentropy)

    def merge(self, other: "Posteriors") -> "Posteriors":
        """The sums over both sets."""
        _same_width(other.total.size, self.total.size, "logits")
        return Posteriors(self.n + other.n, self.total + other.total, self.negentropy + other.negentropy)

    def score(self) -> float:
        """exp of the mean KL divergence from p to its mean, from 1 to C.

        One split over all images, so that file order does not matter (torch-fidelity's ``isc_splits=1``); ten splits,
        as often printed, give a little less.
        """
        mean = self.total / self.n
        mean = mean[mean > 0]  # a class that no image has adds 0, not 0 * log 0
        return float(np.exp(self.negentropy / self.n - (mean * np.log(mean)).sum()))


def inception_score(logits: object) -> float:
    """The inception score of logits [N, C], one split; see ``Posteriors.score``."""
    return Posteriors.of(logits).score()


# --- KID -------------------------------------------------------------------------------------------------------------


def kid(sample: object, reference: object, subset: int = KID_SUBSET) -> tuple[float, float]:
    """Kernel distance (cubic kernel, unbiased; may be a little below 0): mean and standard deviation over the subsets.

    torch-fidelity's, on rows put into an order of their own, so that the order of the files does not choose the
    subsets. Raises ArbenchError where a side has fewer images than ``subset``.
    """
    ours, theirs = checked(sample, "samples"), checked(reference, "reference")
    _same_width(ours.shape[1], theirs.shape[1], "KID")
    for side, array in (("samples", ours), ("reference", theirs)):
        if len(array) < max(subset, 2):
            raise ArbenchError(f"KID: subsets of {max(subset, 2)} images cannot be drawn from {len(array)} {side}")
    from torch_fidelity import metric_kid  # late: it takes as long to import as torch

    found = metric_kid.kid_featuresdict_to_metric(
        {"f": _ordered(ours)},
        {"f": _ordered(theirs)},
        "f",
        kid_subsets=KID_SUBSETS,
        kid_subset_size=subset,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1.0,
        rng_seed=KID_SEED,
        verbose=False,
    )
    return found[metric_kid.KEY_METRIC_KID_MEAN], found[metric_kid.KEY_METRIC_KID_STD]


def _ordered(features: Floats) -> Tensor:
    """The rows as float32, sorted along one fixed direction: by value, so that a last bit moves hardly a row."""
    direction = np.cos(np.arange(1, features.shape[1] + 1))
    along = [(features[rows] * direction).sum(axis=1) for rows in _blocks(len(features), _COLUMNS)]
    return torch.from_numpy(features[np.argsort(np.concatenate(along), kind="stable")].astype(np.float32))


# --- Precision and recall --------------------------------------------------------------------------------------------


def radii(features: object) -> Array:
    """Squared distance of each row to its NEIGHBOUR-th nearest other row, float64 [N], in blocks of bounded memory.

    Raises ArbenchError where there are not that many others.
    """
    array = torch.from_numpy(checked(features))
    if len(array) <= NEIGHBOUR:
        raise ArbenchError(f"precision and recall take more than {NEIGHBOUR} images a side, there are {len(array)}")
    centre = array.mean(0, dtype=torch.float64)
    found = []
    for rows in _blocks(len(array), _ROWS):
        nearest = torch.empty(rows.stop - rows.start, 0, dtype=torch.float64)
        for columns in _blocks(len(array), _COLUMNS):
            tile = _squared_distances(array[rows] - centre, array[columns] - centre)
            nearest = torch.cat([nearest, _smallest(tile)], 1)
        found.append(_smallest(nearest).amax(1))
    return torch.cat(found).numpy()


def precision_recall(sample: object, reference: object, reference_radii: Array | None = None) -> tuple[float, float]:
    """Share of samples inside the reference's manifold, and of the reference inside the samples' (Kynkäänniemi et al.
    2019, 3rd neighbour), in blocks of bounded memory.

    ``reference_radii``: ``radii(reference)`` where kept. Raises ArbenchError for sides that do not fit each other.
    """
    ours, theirs = checked(sample, "samples"), checked(reference, "reference")
    _same_width(ours.shape[1], theirs.shape[1], "precision and recall")
    reference_radii = radii(theirs) if reference_radii is None else reference_radii
    if reference_radii.shape != (len(theirs),):
        raise ArbenchError(f"reference: {len(theirs)} images, but radii {reference_radii.shape}")
    ours_t, theirs_t = torch.from_numpy(ours), torch.from_numpy(theirs)
    centre = theirs_t.mean(0, dtype=torch.float64)
    spread = float((theirs_t[:_ROWS] - centre).square().sum(1).mean())
    around_ours, around_theirs = (
        torch.from_numpy(values) * (1 + _TIE) + _TIE * 1e-2 * spread for values in (radii(ours), reference_radii)
    )
    precise = torch.zeros(len(ours), dtype=torch.bool)
    recalled = torch.zeros(len(theirs), dtype=torch.bool)
    for rows in _blocks(len(ours), _ROWS):
        for columns in _blocks(len(theirs), _COLUMNS):
            tile = _squared_distances(ours_t[rows] - centre, theirs_t[columns] - centre)
            precise[rows] |= (tile <= around_theirs[columns]).any(1)
            recalled[columns] |= (tile <= around_ours[rows, None]).any(0)
    return float(precise.double().mean()), float(recalled.double().mean())


def _smallest(tile: Tensor) -> Tensor:
    """The smallest values of each row: one more than NEIGHBOUR, as each row meets itself."""
    return tile.topk(min(NEIGHBOUR + 1, tile.shape[1]), largest=False).values


def _squared_distances(one: Tensor, other: Tensor) -> Tensor:
    """[M, D], [N, D] -> [M, N], float64; rows are centred by the caller, so that little cancels."""
    tile = torch.addmm(other.square().sum(1), one, other.T, alpha=-2)
    return tile.add_(one.square().sum(1, keepdim=True))
