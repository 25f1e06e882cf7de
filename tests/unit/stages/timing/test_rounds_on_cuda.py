"""On CUDA, rounds go on until there are enough for p99, within the same budget."""

from typing import Any

import pytest

from harness.execution.modes import GRAPH, OFF
from harness.execution.running import Running, running
from harness.method import Generated, Method
from harness.sampling import Sampling
from harness.stages.timing import cases
from harness.stages.timing import stage as timing
from harness.stages.timing.protocol import Protocol
from harness.stages.timing.stage import interleaved
from harness.stages.timing.summary import LOOK, PERCENTILES, TAIL_ROUNDS, percentiles
from tests.helpers.fakes import FakeMethod
from tests.unit.stages.timing.test_timing import Clock, case, slow, timed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Virtual time on a machine that every case takes for CUDA."""
    made = Clock(drift=0, jitter=0.002)
    made.install(monkeypatch)
    monkeypatch.setattr(timing, "_on_cuda", lambda run: True)
    return made


@pytest.mark.parametrize("count", [1, 3, 10], ids=lambda count: f"{count} cases")
def test_a_calm_case_on_cuda_goes_on_until_its_percentiles_are_known(clock: Clock, count: int) -> None:
    parts = timed(interleaved([case(slow(clock.wait, 0.004)) for _ in range(count)]))
    rounds = {len(one["samples"]) for one in parts}
    assert min(rounds) >= TAIL_ROUNDS and max(rounds) < TAIL_ROUNDS + LOOK
    assert {one["ended"] for one in parts} == {"settled"}
    for one in parts:
        known = one["percentiles"]
        assert one["total_s"] == pytest.approx(known["p50"], rel=1e-3)
        assert known["p50"] < known["p90"] < known["p99"] <= max(one["samples"])


def test_a_calm_case_on_a_cpu_has_thirteen_rounds_and_no_tail(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_on_cuda", lambda run: False)
    parts = timed(interleaved([case(slow(clock.wait, 0.004)) for _ in range(3)]))
    assert {len(one["samples"]) for one in parts} == {LOOK}
    for one in parts:
        assert one["percentiles"]["p50"] == pytest.approx(one["total_s"])
        assert one["percentiles"]["p90"] is one["percentiles"]["p99"] is None


def test_a_slow_case_on_cuda_ends_with_the_budget_and_has_no_tail(clock: Clock) -> None:
    protocol = Protocol(least_seconds=0)
    (found,) = interleaved([case(slow(clock.wait, 0.05))], protocol)
    latency = found["latency"]
    assert protocol.min_rounds < len(latency["samples"]) < TAIL_ROUNDS
    assert (latency["ended"], latency["noisy"], latency["percentiles"]["p99"]) == ("budget", False, None)
    assert clock.now < 1.1 * (protocol.latency_seconds + protocol.throughput_seconds)


def test_both_clocks_have_the_same_budget_so_that_only_the_quick_one_has_a_tail(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paced(method: Method, knobs: Any, sampling: Sampling, batch: Any, mode: str) -> Running:
        plain = running(method, knobs, sampling, batch, OFF)

        def sample(*given: Any) -> Generated:
            clock.wait(0.1 if mode == OFF else 0.01)
            return plain.sample(*given)

        return Running(sample, method.decode, mode)

    monkeypatch.setattr(cases, "running", paced)
    monkeypatch.setattr(timing, "resolved", lambda capture, device: GRAPH)
    protocol = Protocol(throughput_batch=2, least_seconds=0)
    (found,) = interleaved([case(FakeMethod.load("tiny"))], protocol)
    captured, eager = found["latency"], found["eager"]["latency"]
    assert captured["percentiles"]["p99"] == pytest.approx(0.01, rel=0.02)
    assert protocol.min_rounds <= len(eager["samples"]) < TAIL_ROUNDS <= len(captured["samples"])
    assert (eager["ended"], eager["percentiles"]["p99"]) == ("budget", None)
    assert eager["percentiles"]["p50"] == pytest.approx(0.1, rel=0.02)


def test_p90_and_p99_take_a_hundred_samples() -> None:
    samples = [float(one) for one in range(1, TAIL_ROUNDS + 1)]
    assert percentiles(samples[::-1]) == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
    assert percentiles(samples[:-1]) == {"p50": 50.0, "p90": None, "p99": None}
    assert percentiles([3.0]) == {"p50": 3.0, "p90": None, "p99": None}
    assert set(percentiles(samples)) == set(PERCENTILES)
