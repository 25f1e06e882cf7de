"""The pace of the machine at a moment, told by a fixed piece of work.

A virtual core shares a physical one with other machines: its speed changes by half within a second, and no counter of
the system says so. Neither does one tell the clock of the processor or what heat costs. So a yardstick, always the same
work, is timed right before and after each sample. Samples that plainly follow it are brought to the session's usual
pace, all by one exponent: a control variate, which takes out noise that all cases share and leaves what differs.
"""

import time
from collections.abc import Sequence
from math import exp, log, sqrt

import numpy as np
import torch

SIDE, PRODUCTS, STEPS = 128, 40, 8000
"""The yardstick: products of square matrices of that side, and steps of plain Python; about 2 ms each."""
PLAIN = 9.0
"""Samples plainly follow the yardstick if the square of their correlation, times their number, is at least this: by
chance it is once in 370 times (three standard errors)."""


def yardstick() -> float:
    """Seconds of the fixed piece of work, on the CPU: the geometric mean of its two halves, products and Python."""
    matrix = torch.full((SIDE, SIDE), 1 / SIDE)
    product = matrix
    began = time.perf_counter()
    for _ in range(PRODUCTS):
        product = product @ matrix
    between, total = time.perf_counter(), 0
    for step in range(STEPS):
        total += step * step
    return sqrt(max(between - began, 1e-9) * max(time.perf_counter() - between, 1e-9))


def factors(times: Sequence[Sequence[float]], paces: Sequence[Sequence[float]]) -> list[list[float]]:
    """By what to divide each sample to bring it to the usual pace; all 1 where the samples do not follow the yardstick.

    times: seconds, a row a case; paces: of the yardstick, around each of them. The exponent is that of the least
    squares of both logarithms, each less its mean of the case, and lies between 0 and 1.
    """
    rows = [(np.log(one), np.log(other)) for one, other in zip(times, paces, strict=True) if len(one) > 1]
    if not rows:
        return [[1.0] * len(one) for one in times]
    taken = np.concatenate([one - one.mean() for one, _ in rows])
    pace = np.concatenate([other - other.mean() for _, other in rows])
    together, spread, power = float(taken @ pace), float(pace @ pace), float(taken @ taken)
    if together <= 0 or together**2 * len(taken) < PLAIN * spread * power:
        return [[1.0] * len(one) for one in times]
    exponent = min(1.0, together / spread)
    usual = float(np.median(np.concatenate([other for _, other in rows])))
    return [[exp(exponent * (log(one) - usual)) for one in row] for row in paces]
