"""The table of `nox -s gpu`: a line is held, missed or not measured, and nothing else."""

import math

import pytest

from tests.programs.gpu.lines import (
    FAILED,
    HELD,
    MISSED,
    MOST,
    REHEARSED,
    SEEN,
    Bound,
    Line,
    elsewhere,
    exit_code,
    failed,
    finite,
    judged,
    milliseconds,
    not_measured,
    rehearsed,
    seen,
    shown,
    table,
)

SHARE, TIMES = Bound(least=0.2, unit="%"), Bound(most=1.1, unit="times")


@pytest.mark.parametrize(
    ("bound", "value", "verdict"),
    [
        (SHARE, 0.2, HELD),
        (SHARE, 0.19, MISSED),
        (SHARE, math.nan, MISSED),
        (TIMES, 1.1, HELD),
        (TIMES, 1.2, MISSED),
        (TIMES, math.nan, MISSED),
        (TIMES, None, FAILED),
    ],
)
def test_a_figure_is_held_against_its_bound(bound: Bound, value: float | None, verdict: str) -> None:
    assert judged("2", "a figure", bound, value, "why").verdict == verdict


def test_a_line_shows_bound_and_figure_in_the_same_unit() -> None:
    line = judged("2", "share of the floor", SHARE, 0.314, "of a rate")
    assert (line.bound, line.figure, line.value) == ("at least 20 %", "31.4 % of a rate", 0.314)
    assert judged("5", "time", TIMES, 0.95).figure == "0.95 times"
    assert judged("5", "time", TIMES, None, "no GPU").figure == "no GPU"
    assert milliseconds(0.0241, (0.0239, 0.0242)) == "24.1 ms [23.9, 24.2]"


def test_a_share_that_is_not_all_does_not_look_like_all() -> None:
    assert shown(1.0, "%") == "100 %"
    assert shown(0.9996, "%") == "99.96 %"


def test_only_what_was_missed_or_broke_is_a_fault() -> None:
    good = [judged("1", "a", TIMES, 1.0), not_measured("1", "b", "no checkout"), seen("1", "c", "24 ms")]
    assert exit_code(good) == 0
    assert exit_code([*good, judged("1", "d", TIMES, 2.0)]) == 1
    assert exit_code([*good, failed("1", "e", "out of memory")]) == 1


def test_a_run_in_which_nothing_was_measured_does_not_pass() -> None:
    assert exit_code([]) == exit_code([not_measured("1", "b", "no checkout")]) == 1


def test_on_another_gpu_times_and_floors_are_shown_and_not_judged() -> None:
    time = judged("5", "a", Bound(most=1.0, unit="times", timed=True), 2.0)
    images = judged("3", "b", Bound(least=1.0, unit="%"), 0.9)
    there = [elsewhere(line, "NVIDIA H200") for line in (time, images, failed("5", "c", "out of memory"))]
    assert [line.verdict for line in there] == [SEEN, MISSED, FAILED]
    assert there[0].bound == "at most 1 times"
    assert elsewhere(time, "NVIDIA H100 80GB HBM3").verdict == MISSED
    text = table(there, "NVIDIA H200")
    assert "Bounds of times and floors are those of an H100; on this NVIDIA H200 they are not judged." in text
    assert "not judged" not in table(there, "NVIDIA H100 80GB HBM3")


def test_the_table_is_short_enough_to_be_given_back() -> None:
    reason = "RuntimeError: CUDA error: an illegal memory access was encountered; " * 10
    lines: list[Line] = [
        failed("1", f"VAR-d16, line {place}: time of the tokens, batch 64", reason) for place in range(95)
    ]
    text = table(lines)
    assert len(text) <= MOST < 12_000
    assert text.count("RuntimeError") == 95
    assert text.endswith("95 FAILED")


def test_a_rehearsal_claims_nothing_but_keeps_its_faults() -> None:
    lines = [judged("1", "a", TIMES, 1.0), judged("1", "b", TIMES, 2.0), seen("1", "c", "x"), failed("1", "d", "x")]
    assert [rehearsed(line).verdict for line in lines] == [REHEARSED, REHEARSED, REHEARSED, FAILED]


def test_the_table_has_every_line_and_counts_the_verdicts() -> None:
    long = "a name that is so long that it takes more than one line of the table, and is not cut off"
    lines = [judged("1", long, TIMES, 1.0), judged("2", "other", TIMES, 2.0), seen("1", "c", "24 ms")]
    text = table(lines)
    assert "not cut off" in " ".join(text.split())
    assert f"1 {HELD}, 1 {MISSED}, 1 {SEEN}" == text.splitlines()[-1]
    assert "at most 1.1" in text


def test_numbers_that_json_lacks_are_left_out() -> None:
    assert finite({"a": math.nan, 64: [1.0, math.inf, "x"], "b": (None, True)}) == {
        "a": None,
        "64": [1.0, None, "x"],
        "b": [None, True],
    }
