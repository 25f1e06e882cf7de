"""Orders in which the places of a token grid are sampled, and schedules that cut an order into parts. A place is a cell
of the grid. One step samples one part.

EAR defines the order ``spiral`` and the schedules ``rings`` and ``half-rings`` (facts/METHODS.md). The other orders and
the schedules ``growing`` and ``equal`` are our own.
"""

from itertools import accumulate

import numpy as np

from harness.errors import ArbenchError


def spiral(grid: int) -> list[int]:
    """The places of a grid in the order of a square spiral, as raster indices.

    With n = ``grid``, the spiral starts at the centre ((n-1)//2, (n-1)//2) and goes right, down, left, up. Its arms
    grow by one place after every two turns.
    """
    row = column = (grid - 1) // 2
    places, arm, turn = [row * grid + column], 1, 0
    moves = ((0, 1), (1, 0), (0, -1), (-1, 0))
    while len(places) < grid * grid:
        for _ in range(2):
            for _ in range(arm):
                row, column = row + moves[turn][0], column + moves[turn][1]
                if 0 <= row < grid and 0 <= column < grid:
                    places.append(row * grid + column)
            turn = (turn + 1) % 4
        arm += 1
    return places


def raster(grid: int) -> list[int]:
    """The places of a grid row by row, as raster indices."""
    return list(range(grid * grid))


def scattered(grid: int, seed: int = 20260101) -> list[int]:
    """The places of a grid in one random order, the same for every image, as raster indices."""
    return np.random.Generator(np.random.Philox(seed)).permutation(grid * grid).tolist()


ORDERS = {"spiral": spiral, "raster": raster, "scattered": scattered}


def rings(places: int) -> list[int]:
    """Part sizes 1, 3, 5, ..., whose running totals are k^2. ``places`` must be a square."""
    return [2 * k + 1 for k in range(_side(places))]


def half_rings(places: int) -> list[int]:
    """Part sizes 1, 1, 2, 2, 3, 3, ..., whose running totals are k^2 and k (k + 1) in turn.

    If the order of the places is ``spiral``, the places of each part lie on one straight line of the grid.
    """
    side = _side(places)
    return [1] + [size for k in range(1, side) for size in (k, k + 1)]


def growing(places: int, steps: int) -> list[int]:
    """Part sizes that grow linearly, as nearly as whole numbers allow.

    The first i parts have about places * (i / steps)^2 places together. Every part has at least 1 place.
    With steps = sqrt(places) these are the rings.
    """
    ends = [round(places * (i / steps) ** 2) for i in range(1, steps + 1)]
    return _strictly(ends, places, steps)


def equal(places: int, steps: int) -> list[int]:
    """Part sizes as equal as whole numbers allow."""
    return _strictly([round(places * i / steps) for i in range(1, steps + 1)], places, steps)


SCHEDULES = ("growing", "equal", "rings", "half-rings")


def parts(schedule: str, places: int, steps: int) -> list[int]:
    """Part sizes of a schedule.

    The schedules ``rings`` and ``half-rings`` have a fixed number of steps. For these two, raises ArbenchError if
    ``steps`` is another number.
    """
    if schedule in ("growing", "equal"):
        return (growing if schedule == "growing" else equal)(places, steps)
    sizes = (rings if schedule == "rings" else half_rings)(places)
    if len(sizes) != steps:
        raise ArbenchError(f"schedule {schedule} takes {len(sizes)} steps on {places} places, not {steps}")
    return sizes


def random_parts(places: int, rng: np.random.Generator) -> list[int]:
    """Part sizes for one training step.

    A quarter of the draws are rings and a quarter half-rings. The other draws are growing parts, equal parts or parts
    cut at random places, in any number of steps from 1 to ``places``.
    """
    kind = rng.integers(8)
    if kind < 2:
        return rings(places)
    if kind < 4:
        return half_rings(places)
    steps = int(rng.integers(1, places + 1))
    if kind < 6:
        return growing(places, steps)
    if kind == 6:
        return equal(places, steps)
    ends = np.sort(rng.choice(places - 1, steps - 1, replace=False) + 1).tolist() + [places]
    return _sizes(ends)


def _strictly(ends: list[int], places: int, steps: int) -> list[int]:
    """Part sizes from desired running totals. ``ends[i]`` is the desired total size of the first i + 1 parts.

    Every part must have at least 1 place. A part that would be empty therefore gets 1 place. The parts after it give up
    this place. If the parts after it have no place to spare, the parts before it give up the place.
    """
    if not 1 <= steps <= places:
        raise ArbenchError(f"steps = {steps} is out of range (valid: 1 to {places})")
    # from the first total to the last, each raised only as far as needed, so that early parts stay small
    low = list(accumulate(ends, lambda before, end: max(before + 1, end), initial=0))[1:]
    return _sizes([min(end, places - (steps - 1 - i)) for i, end in enumerate(low)])


def _sizes(ends: list[int]) -> list[int]:
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _side(places: int) -> int:
    side = round(places**0.5)
    if side * side != places:
        raise ArbenchError(f"rings need a square grid, not {places} places")
    return side
