"""Metrics that compare every image with every other: KID, precision and recall, density and coverage.

All of them need the same products of features, so one pass over tiles of bounded memory computes them all.

Precision, recall, density and coverage depend on which images lie in the ball around another image. For precision and
recall, the radius of a ball is the distance from its centre to the 3rd nearest neighbour in the same set (Kynkäänniemi
et al. 2019). Density and coverage use wide balls, which lie around reference images only. The radius of a wide ball is
the distance from its centre to the 5th nearest other reference image (Naeem et al. 2020).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ArbenchError
from harness.stages.quality.features import Array, Floats, Tell, blocks, checked, same_width, silent

NEAR, FAR = 3, 5
"""The radius of a ball is the distance to the nearest neighbour of this rank: NEAR for precision and recall, FAR for
density and coverage."""
_ROWS, _COLUMNS = 256, 1024  # a tile of distances, 2 MB: it stays in the cache, which saves a quarter of the time
_TIE = 1e-10  # a distance above a radius by up to this share counts as equal to it: rounding must not decide a tie


@dataclass(frozen=True)
class Within:
    """The result of comparing every image of a set with the other images of the set."""

    features: Floats  # [N, D]
    radii: Array  # float64 [N, 2], squared distance to the NEAR-th and to the FAR-th nearest other image
    kernel: Array  # float64 [N], sum of KID's kernel with all the other images

    def __post_init__(self) -> None:
        count = len(self.features)
        if self.radii.shape != (count, 2) or self.kernel.shape != (count,):
            raise ArbenchError(f"{count} images, but radii {self.radii.shape} and kernel {self.kernel.shape}")

    @classmethod
    def of(cls, features: object, what: str = "features", tell: Tell = silent) -> "Within":
        """Compares images, given by features [N, D], among themselves, in blocks of bounded memory.

        Raises ArbenchError as ``checked`` does. Also raises ArbenchError for 5 images or fewer: each image must have 5
        others (``FAR``), because the distance to the fifth nearest of them is needed.
        """
        array = checked(features, what)
        if len(array) <= FAR:
            raise ArbenchError(f"{what}: neighbours take more than {FAR} images a side, there are {len(array)}")
        rows = _Rows(array, array.mean(axis=0, dtype=np.float64))
        nearest = torch.full((len(array), FAR + 1), torch.inf, dtype=torch.float64)  # one more: each image meets itself
        kernel = torch.zeros(len(array), dtype=torch.float64)
        for at, against, distances, kernels in _tiles(rows, rows, tell):
            found = torch.cat([nearest[at], distances.topk(min(FAR + 1, distances.shape[1]), largest=False).values], 1)
            nearest[at] = found.topk(FAR + 1, largest=False, sorted=True).values
            kernel[at] += kernels.sum(1)
            if at.start < against.stop and against.start < at.stop:
                own = torch.arange(max(at.start, against.start), min(at.stop, against.stop))
                kernel[own] -= kernels[own - at.start, own - against.start]
        return cls(array, nearest[:, [NEAR, FAR]].numpy(), kernel.numpy())

    @property
    def kernel_mean(self) -> float:
        """The mean of KID's kernel over all pairs of two different images."""
        return float(self.kernel.sum() / (len(self.kernel) * (len(self.kernel) - 1)))


@dataclass(frozen=True)
class Between:
    """The comparison of N samples with M references.

    The manifold of a set is the union of the balls around the set's images. The radius of a ball is the distance from
    the image to its NEAR-th neighbour in the set. The radius of a wide ball is the distance to the FAR-th neighbour.
    """

    # Kernel distance with a cubic kernel, an unbiased estimate over all pairs; it may be a little below 0.
    # torch-fidelity gives the mean of such distances over random subsets.
    kid: float
    kid_influence: Array = field(repr=False)  # float64 [N], how each sample moves KID; mean 0
    precise: NDArray[np.bool_] = field(repr=False)  # [N], whether the sample is in the references' manifold
    around: NDArray[np.int64] = field(repr=False)  # [N], in how many references' wide balls the sample is
    recalled: NDArray[np.bool_] = field(repr=False)  # [M], whether the reference is in the samples' manifold
    covered: NDArray[np.bool_] = field(repr=False)  # [M], whether a sample is in the reference's wide ball
    # [G], for each group of samples, the number of references that are recalled by this group only.
    recalled_by: NDArray[np.int64] = field(repr=False)
    # [G], for each group of samples, the number of references that are covered by this group only.
    covered_by: NDArray[np.int64] = field(repr=False)

    @property
    def figures(self) -> dict[str, float]:
        """``kid``; ``precision``, ``recall`` and ``coverage``, shares from 0 to 1; ``density``, 0 or more."""
        return {
            "kid": self.kid,
            "precision": float(self.precise.mean()),
            "recall": float(self.recalled.mean()),
            "density": float(self.around.mean() / FAR),
            "coverage": float(self.covered.mean()),
        }


def compare(sample: Within, reference: Within, group: NDArray[np.int64] | None = None, tell: Tell = silent) -> Between:
    """Compares ``sample`` with ``reference``. Raises ArbenchError if their dimensions differ.

    group: int [N], the index of each sample's group. If None, all samples are in one group.
    """
    same_width(sample.features.shape[1], reference.features.shape[1], "samples")
    ours, theirs = len(sample.features), len(reference.features)
    centre = reference.features.mean(axis=0, dtype=np.float64)
    rows, columns = _Rows(sample.features, centre), _Rows(reference.features, centre)
    slack = _TIE * 1e-2 * float(columns.squares.mean())
    balls = torch.from_numpy(sample.radii[:, 0]) * (1 + _TIE) + slack
    near, far = torch.from_numpy(reference.radii.T) * (1 + _TIE) + slack
    kernel = torch.zeros(ours, dtype=torch.float64)
    precise = torch.zeros(ours, dtype=torch.bool)
    around = torch.zeros(ours, dtype=torch.int64)
    group = np.zeros(ours, np.int64) if group is None else group
    recalled, covered = _Holders(group, theirs), _Holders(group, theirs)
    for at, against, distances, kernels in _tiles(rows, columns, tell):
        kernel[at] += kernels.sum(1)
        precise[at] |= (distances <= near[against]).any(1)
        wide = distances <= far[against]
        around[at] += wide.sum(1)
        covered.add(at, against, wide)
        recalled.add(at, against, distances <= balls[at, None])
    cross = kernel.numpy() / (ours * theirs)
    inside = sample.kernel / (ours * (ours - 1))
    influence = 2 * ours * (inside - cross)
    return Between(
        kid=sample.kernel_mean + reference.kernel_mean - 2 * float(cross.sum()),
        kid_influence=influence - influence.mean(),
        precise=precise.numpy(),
        around=around.numpy(),
        recalled=recalled.held,
        covered=covered.held,
        recalled_by=recalled.alone,
        covered_by=covered.alone,
    )


class _Rows:
    """Features prepared for ``_tiles``. They are centred, so that distances lose few digits by cancellation.

    squares [N]: the squared lengths of the centred rows.
    kernel_part [N]: one number part(x) for each row x, from which KID's kernel is computed. The kernel of two rows x
        and y needs x . y / D, where the dot is the inner product. We compute x . y / D from the distance of the rows:
        x . y / D = part(x) + part(y) + |c|^2 / D - |x - y|^2 / (2 D),
        with part(x) = (|x - c|^2 / 2 + (x - c) . c) / D. Here x and y are the rows before centring, and c is the
        centre.
    """

    def __init__(self, features: Floats, centre: Array) -> None:
        self.features, self.centre = torch.from_numpy(features), torch.from_numpy(centre)
        self.squares, along = torch.empty(2, len(features), dtype=torch.float64)
        # In blocks, because all rows in float64 would take twice the memory of the features.
        for rows in blocks(len(features), _COLUMNS):
            part = self.block(rows)
            self.squares[rows], along[rows] = part.square().sum(1), part @ self.centre
        self.kernel_part = (self.squares / 2 + along) / features.shape[1]

    def block(self, rows: slice) -> Tensor:
        """Centred rows, float64 [rows, D]."""
        return self.features[rows] - self.centre


def _tiles(one: _Rows, other: _Rows, tell: Tell) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Compares each row of ``one`` with each row of ``other``, tile by tile. Yields (rows, columns, squared distances,
    kernels) for each tile.

    ``rows`` is a slice of ``one``, ``columns`` a slice of ``other``. Distances and kernels are float64 [rows, columns].
    The kernel of rows x and y is (x . y / D + 1)^3, where the dot is the inner product.
    """
    width = one.features.shape[1]
    constant = 1 + float(one.centre @ one.centre) / width
    for columns in blocks(len(other.squares), _COLUMNS):
        theirs = other.block(columns)
        for rows in blocks(len(one.squares), _ROWS):
            distances = torch.addmm(other.squares[columns], one.block(rows), theirs.T, alpha=-2)
            distances += one.squares[rows, None]
            base = torch.add(other.kernel_part[columns] + constant, distances, alpha=-0.5 / width)
            base += one.kernel_part[rows, None]
            yield rows, columns, distances, base.square().mul_(base)
        tell(columns.stop / len(other.squares))


class _Holders:
    """Finds which references count for recall or for coverage. A reference counts if at least one sample holds it.

    For recall, a sample holds a reference if the reference lies in the sample's ball. For coverage, a sample holds a
    reference if the sample lies in the reference's wide ball.

    The samples are divided into groups (see ``compare``). The class also counts, for each group, the references that
    only samples of this group hold.
    """

    def __init__(self, group: NDArray[np.int64], count: int) -> None:
        self._groups = int(group.max()) + 1
        # Groups are numbered from the middle, so that sums of squares over a tile stay whole numbers that float32 holds
        # exactly.
        number = torch.from_numpy(group - self._groups // 2).float()
        self._powers = torch.stack([torch.ones_like(number), number, number.square()])
        self._sums = torch.zeros(3, count, dtype=torch.float64)

    def add(self, rows: slice, columns: slice, holds: Tensor) -> None:
        """Adds a tile. holds: bool [rows, columns]; entry (i, j): whether sample i of the tile holds reference j."""
        self._sums[:, columns] += self._powers[:, rows] @ holds.float()

    @property
    def held(self) -> NDArray[Any]:
        """bool [M], whether each reference is held by a sample."""
        return (self._sums[0] > 0).numpy()

    @property
    def alone(self) -> NDArray[np.int64]:
        """int64 [G], for each group, the number of references that only samples of this group hold."""
        count, total, squares = self._sums
        # The holders of a reference are all in one group if the variance of their group numbers is 0.
        single = (count > 0) & (count * squares == total.square())
        return np.bincount((total[single] / count[single]).long().numpy() + self._groups // 2, minlength=self._groups)
