"""Intervals for few samples with outliers. They come from order statistics, so that little is assumed about the
distribution of the samples. One interval, ``mean_interval``, is for samples that are sums over many events."""

from collections.abc import Sequence
from functools import cache
from math import comb

import numpy as np
from numpy.typing import NDArray

from harness.errors import ArbenchError
from harness.stages import CONFIDENCE

SPENT = 0.02
"""While samples are being taken, we check from time to time whether the interval is narrow enough to stop. The risk
that the interval of at least one check misses the median is limited to 5 %. SPENT divides this risk among the checks.
The risk of the first k checks together is limited to ``5 % - SPENT / k^2``, which is 3 % for the first check."""


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """An interval that holds the true median with at least ``confidence``: (low, high, coverage).

    The interval lies between two order statistics; no distribution is assumed. ``coverage`` is the actual confidence of
    the interval. With too few samples (under 6 for 0.95), the interval is the whole range, and ``coverage`` is lower
    than ``confidence``. Raises ArbenchError if there are no samples.
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
    """An interval of the median for samples that are taken until the interval is narrow enough: (low, high, coverage).
    After every ``every`` samples, we check the interval and decide whether to take more samples.

    The interval of ``median_interval`` would miss the median too often here, because sampling would stop when chance
    makes the interval narrow. In this function, each check may use only a part of the risk of 5 %. With a
    probability of at least 95 %, the intervals of all checks hold the median. This is true whatever is decided at each
    check. It is also true for every distribution of the samples, as long as the samples are exchangeable.

    An example with a check after every 13 samples: the interval leaves out 2 samples on each side at 13 samples, 7 at
    26 samples, and 11 at 39 samples. With too few samples the interval is the whole range. Raises ArbenchError without
    samples.
    """
    if not len(samples):
        raise ArbenchError("no samples, so there is no median")
    drop, risk = _dropped(len(samples), every)
    ordered = sorted(samples)
    return ordered[drop], ordered[-1 - drop], 1 - risk


@cache
def _dropped(size: int, every: int) -> tuple[int, float]:
    """Two values for the interval of ``size`` samples: how many samples the interval leaves out on each side, and the
    risk. The interval is checked after every ``every`` samples, and at the end. The risk is the probability that the
    interval misses the median in at least one of these checks.

    The number of samples that lie below the median is a random walk, however the samples are distributed. The interval
    misses the median if this number is too low or too high. At each check, the probability that this happens for the
    first time is added to the risk.
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
    """The centre of a symmetric distribution, and an interval of the centre: (centre, low, high). The method is
    Wilcoxon's signed ranks (Hodges and Lehmann 1963). The interval holds the true centre with at least ``confidence``.

    The function is meant for differences between two cases that are measured in turn. The distribution of these
    differences is symmetric if the two cases are alike. For an interval of a given width, this method needs two thirds
    of the samples that a median needs. Outliers affect the centre no more than they affect a median. With too few
    samples, the interval is the whole range. Raises ArbenchError if there are no samples.
    """
    values = np.asarray(samples, np.float64)
    if not len(values):
        raise ArbenchError("no samples, so there is no centre")
    rows, columns = np.triu_indices(len(values))
    averages = np.sort((values[rows] + values[columns]) / 2)
    drop = int(np.searchsorted(_signed_ranks(len(values)), (1 - confidence) / 2, side="right")) - 1
    drop = max(drop, 0)
    return float(np.median(averages)), float(averages[drop]), float(averages[len(averages) - 1 - drop])


def mean_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The mean, and an interval that holds the true mean with ``confidence``: (mean, low, high). It is Student's
    interval, which assumes that the samples are normally distributed.

    The function is meant for two to five samples that are each a sum over many events, such as the energy of a run of
    seconds. With so few samples, order statistics give no interval of 95 %. Raises ArbenchError with fewer than two
    samples.
    """
    if len(samples) < 2:
        raise ArbenchError(f"{len(samples)} samples are too few for an interval of the mean (valid: 2 or more)")
    from scipy.special import stdtrit  # late: pages that only read records need none of scipy

    values = np.asarray(samples, np.float64)
    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2) * values.std(ddof=1) / len(values) ** 0.5)
    mean = float(values.mean())
    return mean, mean - half, mean + half


@cache
def _signed_ranks(size: int) -> NDArray[np.float64]:
    """The distribution function of Wilcoxon's statistic for ``size`` samples. The statistic is the sum of the ranks of
    the positive samples. Entry k is the probability that the statistic is at most k."""
    chance = np.zeros(size * (size + 1) // 2 + 1)
    chance[0] = 1.0
    for rank in range(1, size + 1):
        chance[rank:] = (chance[rank:] + chance[:-rank]) / 2
        chance[:rank] /= 2
    return np.cumsum(chance)
