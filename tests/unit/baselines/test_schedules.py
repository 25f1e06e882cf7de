"""Orders are permutations, schedules partitions, and the published ones have the published values."""

from collections.abc import Callable
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.schedules import (
    ORDERS,
    SCHEDULES,
    equal,
    growing,
    half_rings,
    parts,
    random_parts,
    raster,
    rings,
    scattered,
    spiral,
)
from harness.errors import ArbenchError

places_and_steps = st.integers(1, 300).flatmap(lambda places: st.tuples(st.just(places), st.integers(1, places)))


@given(st.integers(1, 24), st.sampled_from(sorted(ORDERS)))
def test_every_order_visits_every_place_once(grid: int, order: str) -> None:
    assert sorted(ORDERS[order](grid)) == list(range(grid * grid))


@given(st.integers(1, 24))
def test_the_spiral_starts_at_the_centre_and_moves_to_neighbours(grid: int) -> None:
    path = [divmod(place, grid) for place in spiral(grid)]
    assert path[0] == ((grid - 1) // 2, (grid - 1) // 2)
    assert all(abs(r - s) + abs(c - d) == 1 for (r, c), (s, d) in zip(path, path[1:], strict=False))


@given(st.integers(1, 24))
def test_the_first_k_squared_places_of_the_spiral_are_a_square(grid: int) -> None:
    path = np.array([divmod(place, grid) for place in spiral(grid)])
    for k in range(1, grid + 1):
        assert (np.ptp(path[: k * k], axis=0) == k - 1).all()


def test_the_spiral_turns_right_down_left_up() -> None:
    assert spiral(3) == [4, 5, 8, 7, 6, 3, 0, 1, 2]
    assert spiral(4) == [5, 6, 10, 9, 8, 4, 0, 1, 2, 3, 7, 11, 15, 14, 13, 12]
    assert spiral(7)[:10] == [24, 25, 32, 31, 30, 23, 16, 17, 18, 19]


def test_raster_goes_row_by_row_and_the_scattered_order_never_changes() -> None:
    assert raster(3) == list(range(9))
    assert scattered(7)[:6] == scattered(7)[:6]
    assert scattered(7) != raster(7)
    assert scattered(7, seed=1) != scattered(7)


@given(st.integers(1, 20))
def test_rings_end_at_squares_and_half_rings_at_squares_and_pronic_numbers(side: int) -> None:
    assert list(accumulate(rings(side * side))) == [k * k for k in range(1, side + 1)]
    ends = list(accumulate(half_rings(side * side)))
    assert ends[::2] == [k * k for k in range(1, side + 1)]
    assert ends[1::2] == [k * (k + 1) for k in range(1, side)]


def test_the_published_schedules_of_a_16_by_16_grid() -> None:
    assert rings(256) == list(range(1, 32, 2))
    assert half_rings(256) == [size for k in range(1, 16) for size in (k, k)] + [16]
    assert len(half_rings(256)) == 31


def test_half_rings_are_the_straight_arms_of_the_spiral() -> None:
    path = [divmod(place, 7) for place in spiral(7)]
    start = 0
    for size in half_rings(49):
        arm = path[start : start + size]
        assert len({r for r, _ in arm}) == 1 or len({c for _, c in arm}) == 1
        start += size


@given(places_and_steps, st.sampled_from([growing, equal]))
def test_any_number_of_steps_partitions_the_places(
    asked: tuple[int, int], schedule: Callable[[int, int], list[int]]
) -> None:
    places, steps = asked
    sizes = schedule(places, steps)
    assert len(sizes) == steps
    assert sum(sizes) == places
    assert min(sizes) >= 1


@given(places_and_steps)
def test_equal_parts_differ_by_one_at_most(asked: tuple[int, int]) -> None:
    sizes = equal(*asked)
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 20))
def test_growing_with_as_many_steps_as_rings_is_the_rings(side: int) -> None:
    assert growing(side * side, side) == rings(side * side)


def test_golden_sizes_on_a_7_by_7_grid() -> None:
    assert parts("growing", 49, 13) == [1, 1, 1, 2, 2, 3, 4, 5, 4, 6, 6, 7, 7]
    assert parts("growing", 49, 4) == [3, 9, 16, 21]
    assert parts("equal", 49, 13) == [4, 4, 3, 4, 4, 4, 3, 4, 4, 4, 3, 4, 4]
    assert parts("growing", 49, 49) == parts("equal", 49, 49) == [1] * 49
    assert parts("growing", 49, 1) == parts("equal", 49, 1) == [49]


@given(st.integers(0, 2**32))
def test_a_random_schedule_partitions_the_places(seed: int) -> None:
    sizes = random_parts(49, np.random.default_rng(seed))
    assert sum(sizes) == 49
    assert min(sizes) >= 1


def test_random_schedules_hold_the_published_ones_and_every_number_of_steps() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_parts(49, rng) for _ in range(4000)]
    assert 0.2 < np.mean([sizes == rings(49) for sizes in drawn]) < 0.3
    assert 0.2 < np.mean([sizes == half_rings(49) for sizes in drawn]) < 0.3
    assert {len(sizes) for sizes in drawn} == set(range(1, 50))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [0, 50])
def test_a_number_of_steps_that_cannot_be_is_refused(schedule: str, steps: int) -> None:
    with pytest.raises(ArbenchError, match=r"steps = \d+ is out of range|takes \d+ steps on 49 places"):
        parts(schedule, 49, steps)


def test_rings_need_a_square() -> None:
    with pytest.raises(ArbenchError, match="square grid, not 50 places"):
        rings(50)
