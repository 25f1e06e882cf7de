"""How a record was timed, and its second clock, told from the record alone."""

from typing import Any

import pytest

from harness.execution.modes import COMPILE, GRAPH, OFF
from harness.stages import clocks
from harness.stages.clocks import CAPTURED, COMPILED, EAGER
from harness.stages.figures import FIGURES
from tests.helpers import fakes_store
from tests.helpers.fakes_cuda import CONTENT, SLOWER, on_cuda

RECORD = fakes_store.records()[0]
FIGURE = {figure.name: figure for figure in FIGURES}


def test_every_mode_has_a_clock() -> None:
    assert set(clocks.CLOCKS) == {OFF, GRAPH, COMPILE}


@pytest.mark.parametrize(
    ("mode", "why", "clock", "words"),
    [
        (GRAPH, None, CAPTURED, "captured"),
        (COMPILE, None, COMPILED, "compiled"),
        (OFF, CONTENT, EAGER, f"eager ({CONTENT})"),
        (OFF, None, EAGER, "eager (not captured: the protocol has capture off)"),
    ],
)
def test_a_row_on_cuda_was_timed_captured_compiled_or_eager_for_a_reason(
    mode: str, why: str | None, clock: str, words: str
) -> None:
    timing = on_cuda(RECORD, mode, why)["timing"]
    assert (clocks.clock(timing), clocks.in_words(timing)) == (clock, words)
    assert clocks.cannot_be_captured(timing) == bool(why)


@pytest.mark.parametrize(
    ("timing", "clock"),
    [
        ({}, ""),
        (RECORD["timing"], EAGER),
        ({**RECORD["timing"], "device": "cuda:0"}, EAGER),
        ({"protocol": {"compile": "none"}}, EAGER),
        ({"protocol": {"compile": "default"}}, COMPILED),
        ({"protocol": {"capture": "off"}, "capture": None, "device": "cpu"}, EAGER),
    ],
)
def test_records_of_earlier_versions_and_of_a_cpu_are_eager_without_a_reason_unless_compiled(
    timing: dict[str, Any], clock: str
) -> None:
    assert clocks.clock(timing) == clock
    assert clocks.in_words(timing) == clock
    assert clocks.eager(timing) is None


def test_the_second_clock_has_a_session_of_its_own_and_the_only_clock_that_of_the_row() -> None:
    captured, only = on_cuda(RECORD)["timing"], on_cuda(RECORD, OFF, CONTENT)["timing"]
    second = clocks.eager(captured)
    assert second is not None
    assert second["latency"] == captured["eager"]["latency"]
    assert second["session"] not in (None, captured["session"])
    assert clocks.eager(only) == only
    assert clocks.eager(on_cuda(RECORD, OFF)["timing"]) is None


def test_eager_times_are_figures_with_intervals_where_there_is_an_eager_clock() -> None:
    captured, only = on_cuda(RECORD), on_cuda(RECORD, OFF, CONTENT)
    for eager, of in (("eager_latency", "latency"), ("eager_throughput", "throughput")):
        value, first = FIGURE[eager].value(captured, ""), FIGURE[of].value(captured, "")
        ends, of_row = FIGURE[eager].ends(captured, ""), FIGURE[of].ends(only, "")
        assert value and first and ends and of_row
        slower = value / first if of == "latency" else first / value
        assert slower == pytest.approx(SLOWER)
        assert ends[0] < value < ends[1]
        assert FIGURE[eager].value(only, "") == FIGURE[of].value(only, "")
        assert FIGURE[eager].ends(only, "") == of_row
        assert FIGURE[eager].unit == FIGURE[of].unit and FIGURE[eager].better == FIGURE[of].better
        assert (FIGURE[eager].value(RECORD, ""), FIGURE[eager].ends(RECORD, "")) == (None, None)


def test_percentiles_of_the_latency_are_figures_without_an_interval() -> None:
    record = on_cuda(RECORD)
    median, p90, p99 = (FIGURE[name].value(record, "") for name in ("latency", "latency_p90", "latency_p99"))
    assert median and p90 and p99 and median < p90 < p99 < 1.1 * median
    assert FIGURE["latency_p99"].ends(record, "") is None
    assert FIGURE["latency_p90"].value(RECORD, "") is None
