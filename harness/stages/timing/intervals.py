"""Intervals for few samples with outliers, by order statistics: little is assumed about their distribution."""

from collections.abc import Sequence
from functools import cache
from math import comb

import numpy as np
from numpy.typing import NDArray

from harness.errors import ArbenchError
from harness.stages import CONFIDENCE

SPENT = 0.02
"""An interval may miss the median with a risk of 5 %. Of these, ``5 % - SPENT / k^2`` are spent up to look number k:
3 % at the first look."""


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """An interval that holds the true median with at least ``confidence``: (low, high, coverage).

    It is made of order statistics and assumes no distribution. ``coverage`` is the confidence that it reaches: with too
    few samples (under 6 for 0.95) the interval is the whole range, and its coverage is lower. Raises ArbenchError
    without samples.
    """
    size = len(samples)
    if not size:
        raise ArbenchError("no samples, so there is no median")
    ordered = sorted(samples)
    outside = 0.0  # probability that the median lies beyond the order statistic, on one side
    drop = 0
    for rank in range(size // 2 + 1):
        beyond = outside + comb(size, rank) / 2**size
        if 1 - 2 * beyond < confidence and rank > 0:
            break
        outside, drop = beyond, rank
    return ordered[drop], ordered[size - 1 - drop], max(0.0, 1 - 2 * outside)


def sequential_interval(samples: Sequence[float], every: int) -> tuple[float, float, float]:
    """``median_interval`` of samples that were looked at after each ``every`` of them, to decide whether to go on.

    If sampling goes on until an interval is narrow, it stops where chance made the interval narrow, and the interval
    misses the median more often than it says. So the risk of 5 % is shared among the looks: the intervals of all looks
    together hold the median with at least 95 %. This is true whatever is decided at each look, and however the samples
    are distributed, if they are exchangeable.

    With 13 samples, looked at after each 13, the interval leaves out the two lowest and the two highest; with 26, seven
    on each side; with 39, eleven. With too few samples it is the whole range. Raises ArbenchError without samples.
    """
    if not len(samples):
        raise ArbenchError("no samples, so there is no median")
    drop, risk = _dropped(len(samples), every)
    ordered = sorted(samples)
    return ordered[drop], ordered[-1 - drop], 1 - risk


@cache
def _dropped(size: int, every: int) -> tuple[int, float]:
    """How many samples to drop at each end, for the interval of ``size`` samples; and the risk that this interval, or
    one before it, misses the median.

    The samples are looked at after each ``every`` of them, and at the end. The number of samples that lie below the
    median is a random walk, however the samples are distributed. At each look, the probability that the walk is outside
    the interval for the first time is added to the risk.
    """
    walk, drop, risk, last = np.ones(1), 0, 0.0, 0
    for look, count in enumerate([*range(every, size, every), size], 1):
        steps = count - last
        walk = np.convolve(walk, [comb(steps, below) / 2**steps for below in range(steps + 1)])
        # The interval misses the median if at most ``drop`` samples lie below it, or at most ``drop`` above.
        missed = 2 * np.cumsum(walk[: (count + 1) // 2])
        allowed = 1 - CONFIDENCE - SPENT / look**2 - risk
        drop = max(0, int(np.searchsorted(missed, allowed, side="right")) - 1)
        risk += float(missed[drop])
        walk[: drop + 1] = walk[count - drop :] = 0.0
        last = count
    return drop, min(risk, 1.0)


def centre_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The centre of a symmetric distribution and an interval that holds it with at least ``confidence``: (centre, low,
    high), by Wilcoxon's signed ranks (Hodges and Lehmann 1963).

    It is meant for differences of two things measured in turn, which are symmetric if the two are alike. For the same
    width it needs two thirds of the samples that a median needs, and outliers affect it no more. With too few samples
    it is the whole range. Raises ArbenchError without samples.
    """
    values = np.asarray(samples, np.float64)
    if not len(values):
        raise ArbenchError("no samples, so there is no centre")
    rows, columns = np.triu_indices(len(values))
    averages = np.sort((values[rows] + values[columns]) / 2)
    drop = int(np.searchsorted(_signed_ranks(len(values)), (1 - confidence) / 2, side="right")) - 1
    drop = max(drop, 0)
    return float(np.median(averages)), float(averages[drop]), float(averages[len(averages) - 1 - drop])


@cache
def _signed_ranks(size: int) -> NDArray[np.float64]:
    """Probability that the ranks of the positive samples, of ``size`` samples, sum up to at most 0, 1, 2, ..."""
    chance = np.zeros(size * (size + 1) // 2 + 1)
    chance[0] = 1.0
    for rank in range(1, size + 1):
        chance[rank:] = (chance[rank:] + chance[:-rank]) / 2
        chance[:rank] /= 2
    return np.cumsum(chance)
