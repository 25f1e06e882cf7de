"""The pace of the machine at each moment, told by the other cases that were timed right before and after.

A virtual core shares a physical one with other machines: its speed changes by half within a second, and no counter of
the system says so. Neither does one tell the clock of the processor, or what heat costs. But whatever slows the machine
slows the neighbours of a sample as well. So each sample is divided by how much longer than usual its two neighbours
took. Field trials take out the fertility of the soil in this way (Papadakis 1937; Bartlett 1978, doi:10.1111/
j.2517-6161.1978.tb01657.x). It takes out what all cases share and leaves what differs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST = 3
"""Cases that are needed: of two, each would be told by the other alone, and their difference would count twice."""
CLOSE, MOST_TURNS = 1e-6, 100
"""The levels of the cases and the pace are found in turns, until the levels move by less than this; or so many."""

Floats = NDArray[np.float64]


def factors(cases: Sequence[int], seconds: Sequence[float]) -> list[float]:
    """By what to divide each sample to bring it to the session's usual pace, the median of all: 1.2 where the machine
    was slower by a fifth. All 1 where this would not make the samples of a case more alike.

    cases: the number of the case of each sample, in the order in which they were timed; seconds: what each took.
    """
    case, times = np.asarray(cases), np.log(np.asarray(seconds, np.float64))
    if len(set(cases)) < FEWEST:
        return [1.0] * len(cases)
    beside = _neighbours(case)
    plain = levels = _medians(times, case)
    for _ in range(MOST_TURNS):
        before, levels = levels, _medians(times - _around(times - levels[case], beside), case)
        levels += np.mean(before - levels)  # times have no common level of their own beside that of the pace
        if np.max(np.abs(levels - before)) < CLOSE:
            break
    around = _around(times - levels[case], beside)
    if np.median(np.abs(times - around - levels[case])) >= np.median(np.abs(times - plain[case])):
        return [1.0] * len(cases)
    return [float(factor) for factor in np.exp(around - np.median(around))]


def _neighbours(case: NDArray[np.intp]) -> NDArray[np.intp]:
    """int [2, N]: for each sample the nearest one of another case before it, and after it; itself where is none."""
    found = np.tile(np.arange(len(case)), (2, 1))
    for row, step in zip(found, (-1, 1), strict=True):
        for place in range(len(case))[::-step]:
            if 0 <= place + step < len(case):
                row[place] = place + step if case[place + step] != case[place] else row[place + step]
        lost = case[row] == case  # a run of one case, up to the end
        row[lost] = np.flatnonzero(lost)
    return found


def _around(deviations: Floats, beside: NDArray[np.intp]) -> Floats:
    """The mean of both neighbours' deviations from their usual times, or that of the only one."""
    there = beside != np.arange(len(deviations))
    sums = np.where(there, deviations[beside], 0.0).sum(axis=0)
    return np.asarray(sums / np.maximum(there.sum(axis=0), 1))


def _medians(values: Floats, case: NDArray[np.intp]) -> Floats:
    """The median of each case, by number."""
    return np.array([np.median(values[case == one]) for one in range(case.max() + 1)])
