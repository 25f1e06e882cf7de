"""The frontier against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.frontier import Better, frontier, staircase

# Small integers make ties and equal points common, which is where such code goes wrong.
VALUE = st.one_of(st.integers(-4, 4).map(float), st.floats(-1e6, 1e6), st.sampled_from([np.nan, np.inf]))
POINTS = st.lists(st.tuples(VALUE, VALUE), max_size=24)
ENDS = st.tuples(st.sampled_from(["low", "high"]), st.sampled_from(["low", "high"]))


def beats(a: tuple[float, float], b: tuple[float, float], better: tuple[Better, Better]) -> bool:
    """The definition, said once more and slowly."""
    signs = [1 if end == "low" else -1 for end in better]
    a, b = (a[0] * signs[0], a[1] * signs[1]), (b[0] * signs[0], b[1] * signs[1])
    return a[0] <= b[0] and a[1] <= b[1] and a != b


def columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [p[0] for p in points], [p[1] for p in points]


@given(POINTS, ENDS)
def test_a_point_is_on_the_frontier_exactly_if_no_finite_point_beats_it(
    points: list[tuple[float, float]], better: tuple[Better, Better]
) -> None:
    on = frontier(*columns(points), better)
    finite = [p for p in points if np.isfinite(p).all()]
    for point, is_on in zip(points, on, strict=True):
        assert is_on == (bool(np.isfinite(point).all()) and not any(beats(other, point, better) for other in finite))


@given(POINTS, ENDS, st.randoms())
def test_the_frontier_does_not_depend_on_the_order_of_the_points(
    points: list[tuple[float, float]], better: tuple[Better, Better], random: np.random.Generator
) -> None:
    order = list(range(len(points)))
    random.shuffle(order)
    shuffled = frontier(*columns([points[i] for i in order]), better)
    assert shuffled.tolist() == frontier(*columns(points), better)[order].tolist()


@given(POINTS, ENDS)
def test_the_staircase_never_cuts_above_a_point_that_was_measured(
    points: list[tuple[float, float]], better: tuple[Better, Better]
) -> None:
    x, y = staircase(*columns(points), better)
    corners = set(zip(x.tolist(), y.tolist(), strict=True))
    on = frontier(*columns(points), better)
    assert {point for point, is_on in zip(points, on, strict=True) if is_on} <= corners
    assert len(x) == max(0, 2 * len({p for p, is_on in zip(points, on, strict=True) if is_on}) - 1)
    # A corner is either a point or worse than one: the line promises nothing that was not reached.
    for corner in corners:
        assert any(p == corner or beats(p, corner, better) for p in points)


def test_equal_points_stand_together() -> None:
    assert frontier([1, 1, 2], [5, 5, 5]).tolist() == [True, True, False]


def test_vectors_of_unlike_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        frontier([1, 2], [1])


def test_no_points_give_no_frontier_and_no_line() -> None:
    assert frontier([], []).tolist() == []
    assert staircase([], [])[0].tolist() == []
