"""Intervals of few and unruly samples, by order statistics: little is assumed of how they are distributed."""

from collections.abc import Sequence
from functools import cache
from math import ceil, comb

import numpy as np
from numpy.typing import NDArray

from harness.errors import ArbenchError

CONFIDENCE = 0.95

RISKS = (0.0386, 0.0076, 0.0038)
"""How the 5 % are spent by an interval that is looked at several times: at the first look, at the second, at all later
ones together. The first share is what the order statistics 3 and 10 of 12 leave, so that 12 samples lose nothing."""


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """An interval that holds the true median with at least ``confidence``: (low, high, coverage).

    It is made of order statistics and assumes no distribution. With too few samples for that (under 6 for 0.95) it is
    the whole range, and ``coverage`` says how sure that is. ArbenchError without samples.
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

    Whoever goes on until an interval is narrow stops where chance made it narrow, and misses the median more often than
    the interval says. So the risk of 5 % is shared among the looks: together they miss it in at most 5 % of cases,
    whatever is decided at each (union bound), and however the samples are distributed. Of 12 samples, looked at after
    each 12, the two lowest and the two highest do not count; of 24 five on each side, of 36 eight.
    """
    look = max(1, ceil(len(samples) / every))
    first, second, later = RISKS
    risk = (first, second)[look - 1] if look <= 2 else later / ((look - 2) * (look - 1))
    low, high, coverage = median_interval(samples, 1 - risk)
    return low, high, coverage if look == 1 else CONFIDENCE


def centre_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The centre of a symmetric distribution and an interval that holds it with at least ``confidence``: (centre, low,
    high), by Wilcoxon's signed ranks (Hodges and Lehmann 1963).

    For differences of two things measured in turn, which are symmetric if the two are alike. It takes two thirds of the
    samples that a median takes for the same width, and no more heed of outliers. With too few samples it is the whole
    range. ArbenchError without samples.
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
    """Probability that the sum of the ranks of the positive among ``size`` samples is at most 0, 1, 2, ..."""
    chance = np.zeros(size * (size + 1) // 2 + 1)
    chance[0] = 1.0
    for rank in range(1, size + 1):
        chance[rank:] = (chance[rank:] + chance[:-rank]) / 2
        chance[:rank] /= 2
    return np.cumsum(chance)
