"""Time is taken by one protocol: interleaved, bounded, told apart from noise, and honest about memory."""

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.errors import ArbenchError
from harness.machine.disturbances import Counters
from harness.machine.rates import Kind
from harness.method import Generated, KnobValue
from harness.sampling import Sampling
from harness.stages.timing import cases
from harness.stages.timing import stage as timing
from harness.stages.timing.cases import Case
from harness.stages.timing.protocol import Protocol
from harness.stages.timing.stage import interleaved
from harness.stages.timing.summary import LOOK, ratio
from tests.helpers.fakes import FakeMethod

QUICK = Protocol(throughput_batch=2, min_rounds=6, max_rounds=6)
KNOBS = FakeMethod.resolve({})
QUIET = Counters(own=0.0, busy=0.0, steal=0.0, waited=0.0, throttled=None, switches=0)


class Slow(FakeMethod):
    """Calls ``wait`` with the seconds that sampling and decoding are to take, a batch."""

    wait: Callable[[float], None]
    tokens_s: float
    decoder_s: float

    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        self.wait(self.tokens_s if len(labels) == 1 else 4 * self.tokens_s)
        return Generated(torch.zeros(len(labels), 4, dtype=torch.int64), torch.ones(len(labels), dtype=torch.int64))

    def decode(self, tokens: Tensor) -> Tensor:
        self.wait(self.decoder_s)
        return torch.zeros(len(tokens), 1, 4, 4)


class Clock:
    """Virtual time. The machine slows down to half its speed over 10 s, and each wait is off by a few per cent. For
    ``share`` of the time, in spells that outlast a wait, others work on it: it then takes longer by ``spells``."""

    def __init__(
        self, seed: int = 0, drift: float = 0.1, jitter: float = 0.05, spells: float = 0.0, share: float = 0.4
    ) -> None:
        self.now, self.busy = 0.0, False
        self.drift, self.jitter, self.random = drift, jitter, random.Random(seed)
        self.spells, self.share = spells, share

    def wait(self, seconds: float) -> None:
        if self.spells and self.random.random() < 0.25:
            self.busy = self.random.random() < self.share
        speed = 1 / (1 + self.drift * min(self.now, 10)) / (1 + self.busy * self.spells)
        self.now += seconds / speed * self.random.lognormvariate(0, self.jitter)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        clock = SimpleNamespace(perf_counter=lambda: self.now, time=lambda: self.now)
        patch.setattr(timing, "time", clock)
        patch.setattr(cases, "time", clock)
        patch.setattr(cases, "counters", lambda: QUIET)
        patch.setattr(timing, "quiet_cores", lambda: 2)


def slow(wait: Callable[[float], None], tokens_s: float, decoder_s: float = 0.0) -> Slow:
    method = Slow()
    method.wait, method.tokens_s, method.decoder_s = wait, tokens_s, decoder_s
    return method


def case(method: FakeMethod | Callable[[], FakeMethod], name: str = "fake") -> Case:
    return name, method, KNOBS, Sampling()


def test_a_slower_copy_is_told_from_an_identical_one_while_the_machine_drifts(monkeypatch: pytest.MonkeyPatch) -> None:
    same, slower = 0, 0
    for seed in range(20):
        clock = Clock(seed)
        clock.install(monkeypatch)
        cases = [case(slow(clock.wait, seconds)) for seconds in (0.05, 0.05, 0.06)]
        one, copy, other = interleaved(cases, Protocol(throughput_batch=2, max_rounds=15, latency_seconds=60))
        middle, low, high = ratio(copy, one)
        same += low <= 1 <= high
        assert middle == pytest.approx(1, abs=0.1)
        slower += ratio(other, one)[1] > 1
    assert same >= 18
    assert slower == 20


@pytest.mark.parametrize(("jitter", "spells", "told"), [(0.02, 0.0, 20), (0.06, 0.0, 20), (0.015, 0.5, 18)])
def test_a_copy_made_five_per_cent_slower_is_told_apart_and_an_identical_one_is_not(
    jitter: float, spells: float, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    same, slower, seconds = 0, 0, 0.0
    for seed in range(20):
        clock = Clock(seed, jitter=jitter, spells=spells)
        clock.install(monkeypatch)
        one, copy, other = interleaved([case(slow(clock.wait, seconds)) for seconds in (0.02, 0.02, 0.021)])
        same += ratio(copy, one)[1] <= 1 <= ratio(copy, one)[2]
        slower += ratio(other, one)[1] > 1
        seconds = max(seconds, clock.now)
    assert same >= 18
    assert slower >= told
    assert seconds < 1.1 * 3 * Protocol().least_seconds


def test_rounds_end_when_all_cases_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for jitter in (0.002, 0.02, 0.05):
        clock = Clock(jitter=jitter)
        clock.install(monkeypatch)
        found = interleaved([case(slow(clock.wait, 0.02)) for _ in range(3)])
        counts.append(len(found[0]["latency"]["samples"]))
    assert counts[0] == LOOK < counts[1] < counts[2] < Protocol().max_rounds


def test_a_method_that_really_sleeps_twice_as_long_is_told_apart() -> None:
    cases = [case(slow(time.sleep, seconds)) for seconds in (0.01, 0.02)]
    one, other = interleaved(cases, Protocol(throughput_batch=2, min_rounds=8, max_rounds=8))
    for kind, least in (("latency", 0.01), ("throughput", 0.04)):
        assert one[kind]["total_s"] >= least
        assert ratio(other, one, kind)[0] > 1.2  # a busy machine wakes sleepers late, so no finer bound holds


def default_sweep(clock: Clock, patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """36 cases as on a slow machine: 34 to 100 ms at batch 1, four times that at batch 64."""
    clock.install(patch)
    costs = [0.034 + 0.066 * place / 35 for place in range(36)]
    return interleaved([case(slow(clock.wait, seconds * 0.9, seconds * 0.1)) for seconds in costs])


def timed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record[kind] for record in records for kind in ("latency", "throughput")]


def test_the_default_sweep_has_thirteen_rounds_of_each_case_within_three_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(drift=0, jitter=0.015)
    parts = timed(default_sweep(clock, monkeypatch))
    assert clock.now < 180
    assert {(len(one["samples"]), one["noisy"], one["ended"], one["why"]) for one in parts} == {
        (13, False, "settled", None)
    }
    assert all(one["coverage"] >= 0.95 for one in parts)


def test_rows_are_not_noisy_though_others_work_for_a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While they do, a batch takes a third longer; with six rounds, most rows were noisy."""
    quiet, seconds, old = [], 0.0, []
    for seed in range(3):
        clock = Clock(seed, drift=0, jitter=0.015, spells=0.33, share=0.1)
        parts = timed(default_sweep(clock, monkeypatch))
        quiet += [not one["noisy"] for one in parts]
        old += [max(first := one["samples"][:6]) - min(first) <= 0.1 * np.median(first) for one in parts]
        seconds = max(seconds, clock.now)
    assert np.mean(quiet) >= 0.85
    assert np.mean(old) < 0.6
    assert seconds < 220


def test_after_the_first_rounds_only_noisy_cases_go_on_in_company_and_pairs_are_of_the_same_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(drift=0, jitter=0.01)
    clock.install(monkeypatch)
    unruly = slow(lambda seconds: clock.wait(seconds * clock.random.lognormvariate(0, 0.3)), 0.05)
    *company, fourth, fifth = interleaved([*(case(slow(clock.wait, 0.05)) for _ in range(9)), case(unruly)])[:5]
    noisy = interleaved([*(case(slow(clock.wait, 0.05)) for _ in range(9)), case(unruly)])[-1]
    assert {(len(one["samples"]), one["ended"]) for one in timed([fourth, fifth])} == {(13, "settled")}
    assert all(len(one["latency"]["samples"]) > 26 for one in company)
    assert len(noisy["latency"]["samples"]) > 26


def test_a_machine_too_slow_for_the_budget_stops_after_three_rounds_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(drift=0, jitter=0)
    clock.install(monkeypatch)
    (found,) = interleaved([case(slow(clock.wait, 10.0))], Protocol(least_seconds=0))
    assert len(found["latency"]["samples"]) == len(found["throughput"]["samples"]) == 3
    assert found["latency"]["coverage"] == 0.75
    assert found["latency"]["ended"] == "overdrawn"
    assert found["latency"]["why"].startswith("3 rounds of 13, as twice the time budget was spent")
    assert found["noisy"]


def test_a_row_of_fewer_rounds_than_it_should_have_is_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0, jitter=0.001)
    clock.install(monkeypatch)
    (found,) = interleaved([case(slow(clock.wait, 1.0))], Protocol(latency_seconds=4.5, least_seconds=0))
    assert 6 < len(found["latency"]["samples"]) < 13
    assert found["latency"]["coverage"] >= 0.95
    assert found["latency"]["noisy"]


def of_a_busy_machine(now: float) -> Counters:
    return Counters(own=0.5 * now, busy=1.1 * now, steal=0.08 * now, waited=0.5 * now, throttled=0.0, switches=0)


def test_a_noisy_row_says_what_disturbed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0, jitter=0.2)
    clock.install(monkeypatch)
    monkeypatch.setattr(timing, "cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(cases, "counters", lambda: of_a_busy_machine(clock.now))
    (found,) = interleaved([case(slow(clock.wait, 0.05))], QUICK)
    why = found["latency"]["why"]
    assert "4 % steal, other processes used 0.6 of 2 cores, threads waited for a core 25 % of the time" in why
    assert why.endswith("6 of 6 samples disturbed")
    assert len(found["latency"]["disturbances"]["steal"]) == len(found["latency"]["samples"]) == 6


def test_time_is_taken_with_as_many_threads_as_cores_are_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0)
    clock.install(monkeypatch)
    lines: list[str] = []
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr(timing, "quiet_cores", lambda: 1)
        (busy,) = interleaved([case(slow(clock.wait, 0.05))], QUICK, lines.append)
        monkeypatch.setattr(timing, "quiet_cores", lambda: 8)
        (calm,) = interleaved([case(slow(clock.wait, 0.05))], QUICK)
        assert (busy["threads"], calm["threads"], torch.get_num_threads()) == (1, 2, 2)
    finally:
        torch.set_num_threads(usual)
    assert lines[0] == "timing with 1 of 2 threads: other processes keep 1 of the cores busy"


def test_a_slow_method_gets_the_fewest_rounds_and_a_fast_one_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0)
    clock.install(monkeypatch)
    protocol = Protocol(min_rounds=6, max_rounds=20, latency_seconds=0.8, throughput_seconds=2.4, least_seconds=0)
    (sluggish,) = interleaved([case(slow(clock.wait, 0.13))], protocol)
    (swift,) = interleaved([case(slow(clock.wait, 0.001))], protocol)
    assert len(sluggish["latency"]["samples"]) == len(sluggish["throughput"]["samples"]) == 6
    assert len(swift["latency"]["samples"]) == len(swift["throughput"]["samples"]) == 20


def test_tokens_and_decoder_are_timed_apart_and_every_sample_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0, jitter=0)
    clock.install(monkeypatch)
    (found,) = interleaved(
        [case(slow(clock.wait, 0.05, 0.01))], Protocol(throughput_batch=64, min_rounds=6, max_rounds=6)
    )
    latency, throughput = found["latency"], found["throughput"]
    assert latency["tokens_s"] == pytest.approx(0.05)
    assert latency["decoder_s"] == pytest.approx(0.01)
    assert latency["total_s"] == pytest.approx(0.06)
    assert latency["samples"] == pytest.approx([0.06] * 6)
    assert latency["decoder_samples"] == pytest.approx([0.01] * 6)
    assert throughput["images_per_s"] == pytest.approx(64 / 0.21)
    assert throughput["images_per_s_interval"] == pytest.approx([64 / 0.21] * 2)
    assert (latency["batch"], throughput["batch"], found["noisy"]) == (1, 64, False)
    assert found["protocol"]["throughput_batch"] == 64
    assert json.loads(json.dumps(found)) == found


def test_a_noisy_machine_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0, jitter=0.5)
    clock.install(monkeypatch)
    (found,) = interleaved([case(slow(clock.wait, 0.05))], QUICK)
    assert found["noisy"]
    assert found["latency"]["noisy"]


def test_cases_are_interleaved_in_changing_order_on_the_same_images() -> None:
    seen: list[tuple[str, int, float]] = []

    class Watched(FakeMethod):
        label = ""

        def sample(
            self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling
        ) -> Generated:
            seen.append((self.label, len(labels), float(noise.sum())))
            return super().sample(labels, noise, knobs, sampling)

    def watched(label: str) -> Watched:
        method = Watched()
        method.label = label
        return method

    interleaved([case(watched(label)) for label in "abcd"], QUICK)
    for batch in (1, 2):
        runs = [(label, noise) for label, size, noise in seen if size == batch][4:]  # after the warm-up
        rounds = [runs[start : start + 4] for start in range(0, 24, 4)]
        assert all({label for label, _ in one} == set("abcd") for one in rounds)
        assert len({tuple(label for label, _ in one) for one in rounds}) > 1
        assert all(len({noise for _, noise in one}) == 1 for one in rounds)
        assert len({one[0][1] for one in rounds}) == 6


def test_the_device_is_synchronised_on_both_sides_of_each_measured_part(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(cases, "synchronise", lambda device: events.append("wait"))
    method = slow(lambda seconds: events.append("work"), 1.0)
    interleaved([case(method)], QUICK)
    assert events == ["wait", "work", "wait", "work", "wait"] * 2 * (1 + 6)  # two batch sizes; warm-up and six rounds


def test_a_loader_shared_by_many_cases_is_called_once() -> None:
    calls = []

    def load() -> FakeMethod:
        calls.append(1)
        return FakeMethod.load("tiny")

    assert len(interleaved([case(load), case(load), case(load)], QUICK)) == 3
    assert len(calls) == 1


def test_a_failing_case_is_given_up_and_the_others_go_on() -> None:
    def missing() -> FakeMethod:
        raise ArbenchError("weights are missing")

    def explode(seconds: float) -> None:
        raise RuntimeError("out of memory")

    load, good, run = interleaved([case(missing), case(FakeMethod.load("tiny")), case(slow(explode, 1))], QUICK)
    assert load["failure"] == "weights are missing"
    assert run["failure"] == "RuntimeError: out of memory"
    assert "explode" in run["log"]
    assert len(good["latency"]["samples"]) == 6


def test_an_interrupt_is_not_taken_for_a_failing_case() -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interleaved([case(slow(interrupt, 1))], QUICK)


def test_progress_is_told() -> None:
    lines: list[str] = []
    interleaved([case(FakeMethod.load("tiny"))], QUICK, lines.append)
    assert sum("round" in line for line in lines) == 12


def test_records_of_two_sessions_are_not_compared_round_by_round() -> None:
    one, other = (interleaved([case(FakeMethod.load("tiny"))], QUICK)[0] for _ in range(2))
    with pytest.raises(ArbenchError, match="one session"):
        ratio(one, other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup": 0}, "warmup = 0 is too small .valid: 1 or more"),
        ({"throughput_batch": 0}, "throughput_batch = 0 is too small"),
        ({"min_rounds": 400}, "max_rounds = 300 is below min_rounds = 400"),
        ({"capture": "fast"}, "unknown value of capture 'fast'"),
    ],
)
def test_a_wrong_setting_of_the_protocol_is_one_clear_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArbenchError, match=message):
        Protocol(**settings)


def test_what_the_device_can_do_is_measured_once_before_anything_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"bandwidth": 1e10, "matrix": 1e12, "precision": "float32", "cache": 2**20, "seconds": 2.0}
    asked: list[Kind] = []

    class Late(FakeMethod):
        def sample(
            self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling
        ) -> Generated:
            assert asked
            return super().sample(labels, noise, knobs, sampling)

    def rates(kinds: Iterable[Kind], tell: Callable[[str], None]) -> dict[Any, Any]:
        asked.extend(kinds)
        return {(torch.device("cpu"), torch.float32, "off"): said}

    monkeypatch.setattr(timing, "rates_of", rates)
    half, rounded = Late(), Late()
    half.network.to(torch.bfloat16)
    rounded.tf32 = "on"
    broken = lambda: (_ for _ in ()).throw(ArbenchError("no weights"))  # noqa: E731
    one, other, _, failed = interleaved([case(Late()), case(half), case(rounded), case(broken)], QUICK)
    cpu = torch.device("cpu")
    assert asked == [(cpu, torch.float32, "off"), (cpu, torch.bfloat16, "off"), (cpu, torch.float32, "on")]
    assert (one["rates"], other["rates"], failed["failure"]) == (said, None, "no weights")
