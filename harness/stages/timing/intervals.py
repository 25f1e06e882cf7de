"""Intervals for few samples with outliers, by order statistics: little is assumed about their distribution."""

from collections.abc import Sequence
from functools import cache
from math import comb

import numpy as np
from numpy.typing import NDArray

from harness.errors import ArbenchError
from harness.stages import CONFIDENCE

SPENT = 0.02
"""While samples are being taken, we check from time to time whether the interval is narrow enough to stop; such a check
is called a look. The risk that the interval of any look misses the median is limited to 5 %. SPENT divides this risk
among the looks: for the first k looks together, it is limited to ``5 % - SPENT / k^2``, which is 3 % for the first
look."""


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """An interval that holds the true median with at least ``confidence``: (low, high, coverage).

    The interval lies between two order statistics; no distribution is assumed. ``coverage`` is the confidence that the
    interval reaches: with too few samples (under 6 for 0.95) the interval is the whole range, and its coverage is lower
    than ``confidence``. Raises ArbenchError without samples.
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
    """An interval of the median, in the form of ``median_interval``: (low, high, coverage). This interval is right even
    if we looked at the interval after every ``every`` samples, and decided at each look whether to take more samples.

    An interval of ``median_interval`` would then miss the median more often than its coverage says: sampling would stop
    when chance makes the interval narrow. Here the risk of 5 % is shared among the looks: with a probability of at
    least 95 %, the intervals of all looks hold the median. This is true whatever is decided at each look, and whatever
    the distribution of the samples is, as long as they are exchangeable.

    With a look after every 13 samples, the interval of 13 samples leaves out the two lowest and the two highest; that
    of 26 samples leaves out seven on each side; that of 39 samples, eleven. With too few samples the interval is the
    whole range. Raises ArbenchError without samples.
    """
    if not len(samples):
        raise ArbenchError("no samples, so there is no median")
    drop, risk = _dropped(len(samples), every)
    ordered = sorted(samples)
    return ordered[drop], ordered[-1 - drop], 1 - risk


@cache
def _dropped(size: int, every: int) -> tuple[int, float]:
    """How many samples the interval of ``size`` samples drops at each end; and the risk that this interval, or the
    interval of an earlier look, misses the median.

    There is a look after every ``every`` samples, and one at the end. The number of samples that lie below the
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

    It is meant for differences between two things that are measured in turn: these differences are symmetric if the two
    things are alike. For an interval of the same width, the centre needs two thirds of the samples that a median needs.
    Outliers affect the centre no more than a median. With too few samples the interval is the whole range. Raises
    ArbenchError without samples.
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
    """The probabilities that the sum of the ranks of the positive samples is at most 0, 1, 2, ..., for ``size`` samples
    in all."""
    chance = np.zeros(size * (size + 1) // 2 + 1)
    chance[0] = 1.0
    for rank in range(1, size + 1):
        chance[rank:] = (chance[rank:] + chance[:-rank]) / 2
        chance[:rank] /= 2
    return np.cumsum(chance)
