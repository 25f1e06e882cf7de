"""Time is taken by one protocol: interleaved, bounded, told apart from noise, and honest about memory."""

import ctypes
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from math import comb
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness import timings
from harness.conditions import conditions
from harness.disturbances import Counters, between, by_kind, counters, disturbed, in_words
from harness.energy import joules, used
from harness.errors import ArbenchError
from harness.intervals import centre_interval, median_interval, sequential_interval
from harness.memory import peak_memory
from harness.method import Generated, KnobValue
from harness.sampling import Sampling
from harness.stages import timing
from harness.stages.timing import Case, Protocol, interleaved
from harness.timings import LOOK, ratio
from tests.fakes import FakeMethod

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
        patch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: self.now, time=lambda: self.now))
        patch.setattr(timing, "counters", lambda: QUIET)


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


def test_the_default_sweep_has_twelve_rounds_of_each_case_within_three_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0, jitter=0.015)
    parts = timed(default_sweep(clock, monkeypatch))
    assert clock.now < 180
    assert {(len(one["samples"]), one["noisy"], one["ended"], one["why"]) for one in parts} == {
        (12, False, "settled", None)
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
    assert seconds < 200


def test_after_twelve_rounds_only_noisy_cases_go_on_and_pairs_are_of_the_same_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(drift=0, jitter=0.01)
    clock.install(monkeypatch)
    unruly = slow(lambda seconds: clock.wait(seconds * clock.random.lognormvariate(0, 0.3)), 0.05)
    *calm, noisy = interleaved([*(case(slow(clock.wait, 0.05)) for _ in range(9)), case(unruly)])
    assert {(len(one["samples"]), one["ended"]) for one in timed(calm)} == {(12, "settled")}
    assert len(noisy["latency"]["samples"]) > 24
    shorter = {**noisy, "latency": {**noisy["latency"], "samples": noisy["latency"]["samples"][:12]}}
    assert ratio(noisy, calm[0]) == ratio(shorter, calm[0])


@pytest.mark.parametrize("disturbed_rounds", [1, 2])
def test_one_or_two_disturbed_rounds_of_twelve_do_not_widen_an_interval(disturbed_rounds: int) -> None:
    samples = list(np.random.default_rng(0).normal(1, 0.01, 12))
    low, high, coverage = timings.interval(samples)
    samples[:disturbed_rounds] = [40.0] * disturbed_rounds  # 6.8 to 261 images/s, as it was
    worse_low, worse_high, _ = timings.interval(samples)
    assert coverage >= 0.95
    assert worse_high - worse_low < 0.05
    assert not timings.noisy(samples, 12)


def test_one_disturbed_round_of_twelve_does_not_widen_the_interval_of_a_ratio() -> None:
    rng = np.random.default_rng(0)
    one, other = ({"session": "one", "latency": {"samples": list(rng.normal(1, 0.01, 12))}} for _ in range(2))
    one["latency"]["samples"][3] *= 1.5  # type: ignore[index]
    _, low, high = ratio(one, other)
    assert 0.95 < low < 1 < high < 1.05


def test_an_interval_that_decided_how_long_to_go_on_covers_as_often_as_it_says() -> None:
    """Exchangeable rounds: normal, of heavy tails, and one in seven disturbed. Each goes on while it is noisy."""
    rng = np.random.default_rng(0)
    draws: dict[str, Callable[[tuple[int, ...]], Any]] = {
        "normal": lambda size: np.exp(0.06 * rng.standard_normal(size)),
        "heavy": lambda size: np.exp(0.05 * rng.standard_t(2, size)),
        "disturbed": lambda size: (
            np.exp(0.04 * rng.standard_normal(size)) * (1 + (rng.random(size) < 1 / 7) * (0.3 + rng.pareto(1.5, size)))
        ),
    }
    for name, draw in draws.items():
        truth, hits, lengths = float(np.median(draw((1_000_000,)))), 0, set()
        for samples in draw((600, 36)).tolist():
            count = next((n for n in (12, 24) if not timings.noisy(samples[:n], 12)), 36)
            low, high, _ = timings.interval(samples[:count])
            hits += low <= truth <= high
            lengths.add(count)
        assert lengths == {12, 24, 36}, name
        assert hits / 600 >= 0.95 - 0.018, name  # two standard errors


def test_the_risk_of_an_interval_looked_at_often_is_five_per_cent_in_all() -> None:
    outside = []
    for size in range(LOOK, 301, LOOK):
        low, _, _ = sequential_interval(list(range(size)), LOOK)
        outside.append(2 * sum(comb(size, rank) for rank in range(int(low) + 1)) / 2**size)
    assert sum(outside) <= 0.05
    assert outside[0] == pytest.approx(0.0386, abs=1e-4)


def test_a_machine_too_slow_for_the_budget_stops_after_three_rounds_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(drift=0, jitter=0)
    clock.install(monkeypatch)
    (found,) = interleaved([case(slow(clock.wait, 10.0))], Protocol(least_seconds=0))
    assert len(found["latency"]["samples"]) == len(found["throughput"]["samples"]) == 3
    assert found["latency"]["coverage"] == 0.75
    assert found["latency"]["ended"] == "overdrawn"
    assert found["latency"]["why"].startswith("3 rounds of 12, as twice the time budget was spent")
    assert found["noisy"]


def test_a_row_of_fewer_than_twelve_rounds_is_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0, jitter=0.001)
    clock.install(monkeypatch)
    (found,) = interleaved([case(slow(clock.wait, 1.0))], Protocol(latency_seconds=4.5, least_seconds=0))
    assert 6 < len(found["latency"]["samples"]) < 12
    assert found["latency"]["coverage"] >= 0.95
    assert found["latency"]["noisy"]


def of_a_busy_machine(now: float) -> Counters:
    return Counters(own=0.5 * now, busy=1.1 * now, steal=0.08 * now, waited=0.5 * now, throttled=0.0, switches=0)


def test_a_noisy_row_says_what_disturbed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0, jitter=0.2)
    clock.install(monkeypatch)
    monkeypatch.setattr(timing, "cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(timing, "counters", lambda: of_a_busy_machine(clock.now))
    (found,) = interleaved([case(slow(clock.wait, 0.05))], QUICK)
    why = found["latency"]["why"]
    assert "4 % steal, other processes used 0.6 of 2 cores, threads waited for a core 25 % of the time" in why
    assert why.endswith("6 of 6 samples disturbed")
    assert len(found["latency"]["disturbances"]["steal"]) == len(found["latency"]["samples"]) == 6


def test_what_the_system_counts_is_read_and_what_it_does_not_is_none(tmp_path: Path) -> None:
    silent = counters(tmp_path / "nothing")
    assert (silent.busy, silent.steal, silent.waited, silent.throttled) == (None, None, None, None)
    ours = min(os.sched_getaffinity(0))
    for name, text in {
        "proc/stat": f"cpu 9 9 9 9 9 9 9 9 9 9\ncpu{ours} 100 0 50 9000 7 1 2 30 0 0\nintr 5 0\n",
        "proc/self/task/1/schedstat": "5000000000 250000000 77\n",
        "proc/self/task/2/schedstat": "1000000000 500000000 7\n",
        "proc/self/cgroup": "0::/box\n",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/box/cpu.stat": "usage_usec 5\nnr_throttled 3\nthrottled_usec 1500000\n",
        "sys/fs/cgroup/cpu.stat": "usage_usec 9\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    told = counters(tmp_path)
    tick = os.sysconf("SC_CLK_TCK")
    assert (told.busy, told.steal, told.waited, told.throttled) == (153 / tick, 30 / tick, 0.75, 1.5)
    found = between(silent, told)
    assert found["steal"] is None
    assert by_kind([found, between(told, told)])["steal"] is None
    assert by_kind([between(told, told)])["steal"] == [0.0]
    (tmp_path / "proc/stat").write_text("cpu0 what\n")
    assert counters(tmp_path).busy is None


def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise() -> None:
    program = "import harness, os; print(os.environ.get('OMP_WAIT_POLICY'))"
    rest = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    loaded = "import sys; sys.modules['torch'] = None; "  # then it is too late, and the record must not claim it
    for given, before, wanted in ((None, "", "passive"), ("active", "", "active"), (None, loaded, "None")):
        env = rest if given is None else {**rest, "OMP_WAIT_POLICY": given}
        command = [sys.executable, "-c", before + program]
        assert subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip() == wanted


def test_another_process_on_the_same_core_is_seen() -> None:
    """Two processes share one core for half a second: this one waits for it, and the other uses it."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    burner = multiprocessing.get_context("fork").Process(target=_burn, daemon=True)
    try:
        burner.start()
        before, until = counters(), time.perf_counter() + 0.5
        while time.perf_counter() < until:
            pass
        found = between(before, counters())
    finally:
        burner.kill()
        burner.join()
        os.sched_setaffinity(0, mine)
    if found["waited"] is None or found["others"] is None:
        assert not Path("/proc/self/schedstat").exists()
        return
    assert found["waited"] > 0.05
    assert found["others"] > 0.05
    assert disturbed([0.5], by_kind([found])) == [True]
    assert "other processes used" in in_words([0.5], by_kind([found]), 1, 1)


def _burn() -> None:
    while True:
        sum(range(10_000))


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
