"""The frontier: the points that no other point beats on both axes. Pure functions on arrays."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Better = Literal["low", "high"]


def frontier(x: ArrayLike, y: ArrayLike, better: tuple[Better, Better] = ("low", "low")) -> NDArray[np.bool_]:
    """Which points are on the frontier: bool [n].

    x, y: [n]; ``better`` says for each axis whether low or high values are good. A point is off the frontier if another
    point is at least as good on both axes and better on one. Of equal points, all or none are on the frontier. A point
    with a value that is not finite is never on the frontier. Raises ValueError if the lengths differ.
    """
    cost, loss = _oriented(x, better[0]), _oriented(y, better[1])
    if cost.shape != loss.shape or cost.ndim != 1:
        raise ValueError(f"x and y must be vectors of one length, not {cost.shape} and {loss.shape}")
    on = np.zeros(len(cost), dtype=bool)
    known = np.flatnonzero(np.isfinite(cost) & np.isfinite(loss))
    ordered = known[np.lexsort((loss[known], cost[known]))]
    if len(ordered):
        cost, loss = cost[ordered], loss[ordered]
        before = np.concatenate([[np.inf], np.minimum.accumulate(loss)[:-1]])  # the lowest loss of cheaper points
        lower = loss < before
        last = np.maximum.accumulate(np.where(lower, np.arange(len(ordered)), 0))  # where that loss was reached first
        on[ordered] = lower | ((loss == before) & (cost == cost[last]))
    return on


def staircase(
    x: ArrayLike, y: ArrayLike, better: tuple[Better, Better] = ("low", "low")
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The corners of the stepped line through the frontier points, from the cheapest point to the dearest.

    Between two frontier points the line stays at the y of the cheaper point up to the x of the dearer point, since
    nothing better was reached in between. Returns the corners' coordinates, x [m] and y [m]. For k distinct frontier
    points, m is 2 k - 1; without frontier points, m is 0.
    """
    on = frontier(x, y, better)
    points = np.unique(np.column_stack([_oriented(x, better[0])[on], _oriented(y, better[1])[on]]), axis=0)
    cost = np.repeat(points[:, 0], 2)[1:]
    loss = np.repeat(points[:, 1], 2)[:-1]
    return _oriented(cost, better[0]), _oriented(loss, better[1])


def _oriented(values: ArrayLike, better: Better) -> NDArray[np.float64]:
    """The values, negated if high is better, so that low is always good. A second call undoes the first."""
    array = np.asarray(values, dtype=np.float64)
    return array if better == "low" else -array
