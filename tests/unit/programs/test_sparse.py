"""`nox -s sparse` times a CPU's sparse methods against VAR, round by round. Its bounds are the issue's."""

import pytest

from tests.programs import sparse
from tests.programs.gpu.lines import HELD, MISSED, Bound


def test_bounds_are_those_of_the_issue() -> None:
    """Issue 17, acceptance on a CPU."""
    assert sparse.BOUNDS == {
        ("ActVAR", 1): 1.05,
        ("ActVAR", 64): 1.0,
        ("VAR-static", 1): 0.95,
        ("VAR-static", 64): 0.95,
    }
    assert str(sparse.HALF) == "at most 0.5 times"
    assert sparse.DRAWS == (64, 256, 4096)
    assert {name: dict(knobs) for name, (_, knobs) in sparse.CASES.items() if knobs} == {
        "ActVAR": {"ffn_sparsity": 0.645, "ffn_tilt": 1.5},
        "VAR-static": {"ffn_sparsity": 0.645, "ffn_tilt": 1.5},
    }


def test_every_case_runs_once_a_round_and_the_first_round_does_not_count() -> None:
    turns: list[tuple[str, int]] = []
    works = {name: lambda turn, name=name: turns.append((name, turn)) for name in "abc"}
    seconds = sparse.rounds_of(works, 3)
    assert sorted(turns) == [(name, turn) for name in "abc" for turn in range(4)]
    assert {name: len(one) for name, one in seconds.items()} == {"a": 3, "b": 3, "c": 3}
    orders = {tuple(name for name, turn in turns if turn == one) for one in range(4)}
    assert len(orders) > 1, "the order changes"


def test_a_time_is_held_against_the_other_of_the_same_round() -> None:
    slow = [1.0, 2.0, 1.5, 1.0, 3.0, 1.0, 2.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0]
    seconds = {"VAR": slow, "ActVAR": [0.9 * one for one in slow], "VAR-static": [1.1 * one for one in slow]}
    bound = Bound(most=1.0, unit="times")
    good = sparse.compared("ActVAR", seconds, "VAR", bound, "a")
    assert good.verdict == HELD
    assert good.value == pytest.approx(0.9)
    assert good.figure == "0.9 times [0.9, 0.9], 900 ms and 1e+03 ms"
    assert sparse.compared("VAR-static", seconds, "VAR", bound, "b").verdict == MISSED


def test_sparse_methods_and_draws_are_measured() -> None:
    lines = [*sparse.sparse({1: 2}), sparse.draws((2, 4, 4096), 2)]
    assert [line.name.partition(",")[0] for line in lines[:2]] == [
        "ActVAR at 21 % of FLOPs saved",
        "VAR-static at 21 % of FLOPs saved",
    ]
    assert all(line.value and line.value > 0 for line in lines)
    assert lines[2].bound == "at most 0.5 times"
