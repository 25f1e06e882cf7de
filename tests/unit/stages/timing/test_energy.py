"""The energy of an image comes from runs that are long enough for the counter, or it is unknown: never 0."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.machine import gpu
from harness.machine.energy import Counter
from harness.stages import clocks
from harness.stages.timing import energy
from harness.stages.timing.energy import BATCHES, LEAST_S, RUNS, Run, figures, per_image, repeated
from harness.stages.timing.protocol import Protocol
from tests.helpers.fakes import FakeMethod

PROTOCOL = Protocol(throughput_batch=4)
BUDGET = PROTOCOL.energy_seconds


class Machine:
    """Virtual time, and a counter of energy that moves every ``step`` seconds, and starts over at ``most`` joules."""

    def __init__(self, step: float = 0.1, most: float | None = None, began: float = 0.0) -> None:
        self.now, self.step, self.most = began, step, most
        self.joules, self.counted = 0.0, 0.0  # used so far, and as the counter says
        self.looks: list[float] = []  # when the state was looked at
        self.counter = Counter(self.read, (most,), step)

    def work(self, seconds: float, watts: float = 300.0) -> None:
        """Work for a while. The counter is moved at each whole multiple of its step."""
        ticks = (self.now + seconds) // self.step
        if ticks > self.now // self.step:
            self.counted = self.joules + watts * (ticks * self.step - self.now)
        self.now, self.joules = self.now + seconds, self.joules + watts * seconds

    def looked(self) -> None:
        self.looks.append(self.now)

    def read(self) -> list[float]:
        return [self.counted % self.most if self.most else self.counted]

    def measured(self, seconds: float, watts: Callable[[], float] = lambda: 300.0) -> dict[str, Any]:
        return figures(self.runs(seconds, watts), self.step)

    def runs(self, seconds: float, watts: Callable[[], float] = lambda: 300.0) -> list[Run]:
        work = lambda turn: self.work(seconds, watts())  # noqa: E731
        return repeated(self.counter, work, 4, BUDGET, lambda: self.now, self.looked)


def test_a_counter_that_moves_every_100_ms_gives_the_energy_of_short_generations() -> None:
    found = Machine().measured(0.013)
    true = 300.0 * 0.013 / 4
    low, high = found["joules_per_image_interval"]
    assert found["joules_per_image"] == pytest.approx(true, rel=0.02)
    assert low < found["joules_per_image"] < high
    assert len(found["joules_per_image_runs"]) == RUNS


@pytest.mark.parametrize("scatter", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("step", [0.001, 0.02, 0.1])
def test_the_interval_holds_the_true_energy(scatter: float, step: float) -> None:
    """scatter: of the power, from one generation to the next."""
    draw, held, sessions = random.Random(0), 0, 300
    for _ in range(sessions):
        seconds = draw.uniform(0.02, 0.5)
        machine = Machine(step, began=draw.uniform(0, 9))
        machine.work(draw.uniform(0, 0.3), 70.0)  # the GPU was idle before
        low, high = machine.measured(seconds, lambda: draw.gauss(300.0, 300.0 * scatter))["joules_per_image_interval"]
        held += low <= 300.0 * seconds / 4 <= high
        assert high < 2 * low or scatter == 0.3
    assert held >= 0.94 * sessions


@pytest.mark.parametrize(("seconds", "runs"), [(0.01, RUNS), (0.9, RUNS), (5.0, 2), (60.0, 1)])
def test_the_budget_ends_the_runs(seconds: float, runs: int) -> None:
    machine = Machine()
    found = machine.runs(seconds)
    assert len(found) == runs
    assert all(run.seconds >= LEAST_S for run in found)
    assert machine.now < BUDGET + LEAST_S + seconds


def test_one_run_gives_energy_without_an_interval() -> None:
    found = Machine().measured(60.0)
    assert found["joules_per_image"] == pytest.approx(300.0 * 60.0 / 4, rel=0.002)
    assert found["joules_per_image_interval"] is None


def test_a_counter_that_starts_over_between_two_readings_gives_the_same_energy() -> None:
    usual, over = (Machine(most=most).measured(0.05) for most in (None, 1000.0))
    assert over["joules_per_image"] == pytest.approx(usual["joules_per_image"])


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [Run(0.3, 90.0, 64)],  # too short for the counter
        [Run(2.1, 0.0, 64)],  # the counter stands still
        [Run(2.1, None, 64)],  # the counter could not be read
        [Run(1.9, 600.0, 64)] * 5,
    ],
)
def test_without_a_run_that_can_be_used_energy_is_unknown(runs: Sequence[Run]) -> None:
    assert set(figures(runs).values()) == {None}


def test_runs_that_cannot_be_used_do_not_count() -> None:
    found = figures([Run(2.0, 64.0, 64), Run(2.0, None, 64), Run(0.1, 900.0, 64), Run(2.0, 128.0, 64)])
    assert found["joules_per_image"] == 1.5
    assert found["joules_per_image_runs"] == [1.0, 2.0]


def test_equal_runs_lie_in_their_interval() -> None:
    found = figures([Run(2.0, 0.1, 3)] * 3)
    low, high = found["joules_per_image_interval"]
    assert low <= found["joules_per_image"] <= high


def test_nothing_is_generated_where_energy_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "counter", lambda device: None)

    def generate(labels: Tensor, noise: Tensor) -> None:
        raise AssertionError("there is no counter")

    found = per_image("a case", FakeMethod.load("tiny"), torch.device("cpu"), generate, PROTOCOL, print)
    assert set(found.values()) == {None}


def test_batches_are_drawn_before_the_counter_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    seen: list[Tensor] = []
    monkeypatch.setattr(energy, "counter", lambda device: machine.counter)
    monkeypatch.setattr(energy, "time", SimpleNamespace(perf_counter=lambda: machine.now))

    def generate(labels: Tensor, noise: Tensor) -> None:
        machine.work(0.25)
        seen.append(noise)

    found = per_image("a case", FakeMethod.load("tiny"), torch.device("cpu"), generate, PROTOCOL, print)
    assert found["joules_per_image"] == pytest.approx(300.0 * 0.25 / 4, rel=0.02)
    assert {tuple(one.shape) for one in seen} == {(4, FakeMethod.load("tiny").positions)}
    assert len({id(one) for one in seen}) == BATCHES


def test_a_case_that_fails_here_keeps_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "counter", lambda device: Machine().counter)
    lines: list[str] = []

    def generate(labels: Tensor, noise: Tensor) -> None:
        raise RuntimeError("out of memory")

    found = per_image("a case", FakeMethod.load("tiny"), torch.device("cpu"), generate, PROTOCOL, lines.append)
    assert found.pop("joules_per_image_why") == "RuntimeError: out of memory"
    assert set(found.values()) == {None}
    assert lines == ["energy of a case: unknown (RuntimeError: out of memory)"]


def test_a_counter_that_stands_still_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    monkeypatch.setattr(energy, "counter", lambda device: Counter(lambda: [7.0], (None,), 0.1))
    monkeypatch.setattr(energy, "time", SimpleNamespace(perf_counter=lambda: machine.now))
    lines: list[str] = []
    found = per_image(
        "a case", FakeMethod.load("tiny"), torch.device("cpu"), lambda *_: machine.work(0.5), PROTOCOL, lines.append
    )
    assert (found["joules_per_image"], found["joules_per_image_why"]) == (None, "its counter does not move")
    assert lines == ["energy of a case: unknown (its counter does not move)"]


def test_the_state_of_the_gpu_is_read_at_each_end_of_a_run() -> None:
    machine = Machine()
    runs = machine.runs(0.9)
    assert len(machine.looks) == RUNS + 1
    assert [after - before for before, after in pairwise(machine.looks)] == pytest.approx([r.seconds for r in runs])


def test_a_gpu_that_is_throttled_during_the_runs_is_told_of_the_energy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    busy = gpu.Reading(1500.0, 2600.0, 80.0, 699.0, 700.0, ("power cap",), True, 1.0, 0)
    monkeypatch.setattr(energy, "counter", lambda device: machine.counter)
    monkeypatch.setattr(energy, "time", SimpleNamespace(perf_counter=lambda: machine.now))
    monkeypatch.setattr(gpu, "reading", lambda device: busy)
    lines: list[str] = []
    device = torch.device("cpu")
    found = per_image("a case", FakeMethod.load("tiny"), device, lambda *_: machine.work(0.5), PROTOCOL, lines.append)
    assert found["joules_per_image_why"] == "the GPU was throttled (power cap in 4 of 4 samples)"
    assert found["joules_per_image_gpu"]["celsius"] == [80.0, 80.0, 80.0]
    assert re.fullmatch(r"energy of a case: 3\d\.\d J an image", lines[0])
    timing = {"latency": {}, "throughput": found}
    assert clocks.energy_disturbed(timing) and not clocks.disturbed(timing)


@pytest.mark.parametrize(("budget", "runs"), [(0.0, 0), (1.0, 1), (3.0, 2), (99.0, RUNS)])
def test_the_protocol_bounds_the_time_for_energy(budget: float, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    monkeypatch.setattr(energy, "counter", lambda device: machine.counter)
    monkeypatch.setattr(energy, "time", SimpleNamespace(perf_counter=lambda: machine.now))
    asked = replace(PROTOCOL, energy_seconds=budget)
    method = FakeMethod.load("tiny")
    found = per_image("a case", method, torch.device("cpu"), lambda *_: machine.work(0.25), asked, print)
    assert len(found["joules_per_image_runs"] or []) == runs
    assert machine.now == pytest.approx(runs * LEAST_S)
