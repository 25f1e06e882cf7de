"""Estimates the pace of the machine at a given moment.

A case is a method with its settings. A session times all cases in turn. A sample is the time of one run of a case.

The pace is a factor: the time that a case takes at a given moment, divided by the usual time of this case. A pace above
1 means that the machine is slower than usual. The pace at the moment of a sample is estimated from the two neighbours
of the sample. The neighbours are the samples of other cases that were taken right before and after it.

The pace has to be estimated, because no counter shows it. A virtual core shares a physical core with other virtual
machines. The speed of the virtual core changes by half within a second, and no counter of the system shows this change.
No counter shows the clock of the processor either, or what heat costs. But whatever slows a sample also slows its
neighbours. So each sample is divided by a factor: how much longer than usual the neighbours took. Field trials correct
for the fertility of the soil in this way (Papadakis 1937; Bartlett 1978,
doi:10.1111/j.2517-6161.1978.tb01657.x). The correction removes what all cases share and leaves what differs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST = 3
"""Least number of cases. With two cases, the pace for each case would be estimated from the other case alone, and the
difference of the two cases would count twice."""
CLOSE, MOST_TURNS = 1e-6, 100
"""The level of a case is the logarithm of its usual time. The levels and the pace are estimated in turns, until the
levels move by less than CLOSE, or for MOST_TURNS turns."""

Floats = NDArray[np.float64]


def factors(cases: Sequence[int], seconds: Sequence[float]) -> list[float]:
    """For each sample, the machine's pace at that moment, as a factor. The factor is 1.2 where the machine took a fifth
    longer than usual.

    A sample divided by its factor is the time that the case would have taken at the session's usual pace. The usual
    pace is the median of all paces of the session.

    The division should bring the samples nearer to the usual times of their cases. If the median distance over all
    samples does not become smaller, all factors are 1. All factors are also 1 if there are fewer than FEWEST cases.

    cases: for each sample, the index of its case. Samples are in the order in which they were timed.
    seconds: for each sample, its time.
    """
    case, times = np.asarray(cases), np.log(np.asarray(seconds, np.float64))
    if len(set(cases)) < FEWEST:
        return [1.0] * len(cases)
    beside = _neighbours(case)
    plain = levels = _medians(times, case)
    for _ in range(MOST_TURNS):
        before, levels = levels, _medians(times - _around(times - levels[case], beside), case)
        levels += np.mean(before - levels)  # a common shift of all levels belongs to the pace
        if np.max(np.abs(levels - before)) < CLOSE:
            break
    around = _around(times - levels[case], beside)
    if np.median(np.abs(times - around - levels[case])) >= np.median(np.abs(times - plain[case])):
        return [1.0] * len(cases)
    return [float(factor) for factor in np.exp(around - np.median(around))]


def _neighbours(case: NDArray[np.intp]) -> NDArray[np.intp]:
    """The neighbours of each sample, int [2, N]. Row 0 has the index of the nearest earlier sample of another case, and
    row 1 the index of the nearest later one. Where there is no such sample, the sample's own index is given."""
    found = np.tile(np.arange(len(case)), (2, 1))
    for row, step in zip(found, (-1, 1), strict=True):
        for place in range(len(case))[::-step]:
            if 0 <= place + step < len(case):
                row[place] = place + step if case[place + step] != case[place] else row[place + step]
        lost = case[row] == case  # only samples of the same case up to the end
        row[lost] = np.flatnonzero(lost)
    return found


def _around(deviations: Floats, beside: NDArray[np.intp]) -> Floats:
    """For each sample, how far its neighbours are from their usual times: the mean deviation of its two neighbours, or
    the deviation of its only neighbour."""
    there = beside != np.arange(len(deviations))
    sums = np.where(there, deviations[beside], 0.0).sum(axis=0)
    return np.asarray(sums / np.maximum(there.sum(axis=0), 1))


def _medians(values: Floats, case: NDArray[np.intp]) -> Floats:
    """The median of the values of each case. Entry i belongs to the case with index i."""
    return np.array([np.median(values[case == one]) for one in range(case.max() + 1)])
