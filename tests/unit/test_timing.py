"""Time is taken by one protocol: interleaved, bounded, told apart from noise, and honest about memory."""

import ctypes
import json
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.conditions import conditions
from harness.energy import joules, used
from harness.errors import ArbenchError
from harness.intervals import centre_interval, median_interval
from harness.memory import peak_memory
from harness.method import Generated, KnobValue
from harness.sampling import Sampling
from harness.stages import timing
from harness.stages.timing import LOOK, Case, Protocol, interleaved, ratio
from tests.fakes import FakeMethod

QUICK = Protocol(throughput_batch=2, min_rounds=6, max_rounds=6)
KNOBS = FakeMethod.resolve({})


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
    """Virtual time. The machine slows down to half its speed over 10 s, and each wait is off by a few per cent; while
    others work on it, in spells that outlast a wait, it takes longer by the share ``spells``."""

    def __init__(self, seed: int = 0, drift: float = 0.1, jitter: float = 0.05, spells: float = 0.0) -> None:
        self.now, self.busy = 0.0, False
        self.drift, self.jitter, self.spells, self.random = drift, jitter, spells, random.Random(seed)

    def wait(self, seconds: float) -> None:
        if self.spells and self.random.random() < 0.25:
            self.busy = self.random.random() < 0.4
        speed = 1 / (1 + self.drift * min(self.now, 10)) / (1 + self.busy * self.spells)
        self.now += seconds / speed * self.random.lognormvariate(0, self.jitter)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: self.now, time=lambda: self.now))


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


def test_the_default_protocol_times_66_trials_within_four_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0)
    clock.install(monkeypatch)
    costs = [0.02 + 0.13 * place / 65 for place in range(66)]  # 20 to 150 ms
    methods = [slow(clock.wait, seconds * 0.9, seconds * 0.1) for seconds in costs]
    records = interleaved([case(method) for method in methods])
    assert clock.now < 240
    assert all(len(record[kind]["samples"]) >= 6 for record in records for kind in ("latency", "throughput"))
    assert all(record[kind]["coverage"] >= 0.95 for record in records for kind in ("latency", "throughput"))


def test_a_machine_too_slow_for_the_budget_stops_after_three_rounds_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(drift=0, jitter=0)
    clock.install(monkeypatch)
    (found,) = interleaved([case(slow(clock.wait, 10.0))], Protocol(least_seconds=0))
    assert len(found["latency"]["samples"]) == len(found["throughput"]["samples"]) == 3
    assert found["latency"]["coverage"] == 0.75
    assert found["noisy"]


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
    (found,) = interleaved([case(slow(clock.wait, 0.05, 0.01))], Protocol(throughput_batch=64, max_rounds=6))
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
    monkeypatch.setattr(timing, "_synchronise", lambda device: events.append("wait"))
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


@pytest.mark.parametrize(
    ("size", "low", "high", "coverage"),
    [(1, 0, 0, 0.0), (5, 0, 4, 0.9375), (6, 0, 5, 0.96875), (9, 1, 7, 0.9609375), (20, 5, 14, 0.9586)],
)
def test_the_interval_of_a_median_is_that_of_the_sign_test(size: int, low: int, high: int, coverage: float) -> None:
    samples = random.Random(0).sample(range(size), size)
    assert median_interval(samples) == pytest.approx((low, high, coverage), abs=1e-4)


def test_the_interval_of_a_median_covers_it_at_least_as_often_as_it_says() -> None:
    source = random.Random(1)
    hits = 0
    for _ in range(2000):
        low, high, _ = median_interval([source.lognormvariate(0, 1) for _ in range(10)])
        hits += low <= 1 <= high  # the median of this skewed distribution is 1
    assert 0.96 < hits / 2000 < 0.995  # 0.979 in theory


@pytest.mark.parametrize(("size", "drop"), [(5, 0), (6, 0), (10, 8), (20, 52), (40, 264)])
def test_the_interval_of_a_centre_is_that_of_wilcoxons_signed_ranks(size: int, drop: int) -> None:
    """drop: the critical value of printed tables, two-sided at 5 %; under 6 samples there is none."""
    values = np.random.default_rng(0).standard_normal(size)
    averages = np.sort([(one + other) / 2 for place, one in enumerate(values) for other in values[place:]])
    middle, low, high = centre_interval(list(values))
    assert (low, high) == (averages[drop], averages[-1 - drop])
    assert middle == np.median(averages)


def test_the_interval_of_a_centre_covers_it_and_is_narrower_than_the_medians() -> None:
    rng = np.random.default_rng(1)
    hits, narrower = 0, 0
    for _ in range(400):
        values = list(rng.standard_normal(25) + 3)
        _, low, high = centre_interval(values)
        hits += low <= 3 <= high
        narrower += high - low < np.subtract(*median_interval(values)[1::-1])
    assert 0.92 <= hits / 400 <= 0.98
    assert narrower > 300


def test_the_machines_state_is_read_and_what_it_does_not_say_is_none(tmp_path: Path) -> None:
    assert conditions()["load"] >= 0
    silent = conditions(tmp_path)
    assert {silent[name] for name in ("others", "clock_mhz", "governor", "celsius")} == {None}
    for name, text in {
        "proc/loadavg": "0.20 0.18 0.12 3/80 11206\n",
        "proc/cpuinfo": "processor : 0\ncpu MHz : 2100.5\n\nprocessor : 1\ncpu MHz : 3000.0\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/class/thermal/thermal_zone0/temp": "41000\n",
        "sys/class/thermal/thermal_zone1/temp": "56500\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    told = conditions(tmp_path)
    assert (told["others"], told["clock_mhz"], told["governor"]) == (2, [3000.0, 2100.5], "powersave")
    assert told["celsius"] == 56.5


def test_energy_is_the_processors_own_count_and_none_where_there_is_none(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert joules(cpu, tmp_path / "nothing") is None
    for name, count in (("intel-rapl:0", 5_000_000), ("intel-rapl:1", 2_500_000), ("intel-rapl:0:0", 900_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{count}\n")
    assert joules(cpu, tmp_path) == 7.5
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("no number")
    assert joules(cpu, tmp_path) is None
    assert joules(torch.device("cuda")) is None or torch.cuda.is_available()
    assert (used(7.5, 9.0), used(9.0, 7.5), used(None, 9.0)) == (1.5, None, None)


def test_joules_are_told_by_image(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter(range(0, 10_000, 8))
    monkeypatch.setattr(timing, "joules", lambda device: float(next(readings)))
    (found,) = interleaved([case(FakeMethod.load("tiny"))], QUICK)
    assert found["throughput"]["joules_per_image"] == 8 / 2


def test_no_samples_have_no_median() -> None:
    with pytest.raises(ArbenchError, match="no centre"):
        centre_interval([])
    with pytest.raises(ArbenchError, match="no samples"):
        median_interval([])


def test_records_of_two_sessions_are_not_compared_round_by_round() -> None:
    one, other = (interleaved([case(FakeMethod.load("tiny"))], QUICK)[0] for _ in range(2))
    with pytest.raises(ArbenchError, match="one session"):
        ratio(one, other)


def test_an_earlier_run_does_not_hide_the_memory_of_a_later_one() -> None:
    rises = []
    for size in (2000, 8000, 2000):
        with peak_memory(torch.device("cpu")) as found:
            blocks = [torch.ones(size, 256) for _ in range(8)]
            del blocks
        rises.append(found["peak_memory_rise_mb"])
    if found["peak_memory_scope"] != "run" or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this system does not let a process reset its high-water mark, or return its memory")
    assert rises == pytest.approx([16.4, 65.5, 16.4], abs=8)  # with what a first run brings in besides


def test_peak_memory_sees_what_was_allocated_and_freed() -> None:
    with peak_memory(torch.device("cpu")) as found:
        block = torch.ones(20_000_000)
        del block
    with peak_memory(torch.device("cpu")) as after:
        pass
    if found["peak_memory_mb"] is None or found["peak_memory_scope"] != "run":
        pytest.skip("this system does not let a process reset its high-water mark")
    assert 75 < found["peak_memory_rise_mb"] < 120
    assert after["peak_memory_rise_mb"] < 10
    assert found["peak_memory_mb"] > after["peak_memory_mb"] + 60


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup": 0}, "warmup = 0 is too small .valid: 1 or more"),
        ({"throughput_batch": 0}, "throughput_batch = 0 is too small"),
        ({"min_rounds": 400}, "max_rounds = 300 is below min_rounds = 400"),
        ({"compile": "fast"}, "unknown value of compile 'fast'"),
    ],
)
def test_a_wrong_setting_of_the_protocol_is_one_clear_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArbenchError, match=message):
        Protocol(**settings)
