"""A timed row states the energy of an image, and says if the GPU was throttled or shared while it was taken."""

from dataclasses import replace
from typing import Any

import pytest

from harness.machine import gpu
from harness.machine.gpu import Reading
from harness.stages.timing import energy
from harness.stages.timing import stage as timing
from harness.stages.timing.stage import interleaved
from harness.stages.timing.summary import why_disturbed, why_noisy
from tests.helpers.fakes import FakeMethod
from tests.unit.stages.timing.test_timing import QUICK, Clock, case, slow


def test_energy_is_measured_after_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def per_image(*asked: Any) -> dict[str, Any]:
        given.append(asked)
        return {"joules_per_image": 4.5}

    def broken(seconds: float) -> None:
        raise RuntimeError

    monkeypatch.setattr(timing, "per_image", per_image)
    method = FakeMethod.load("tiny")
    found, _ = interleaved([case(method), case(slow(broken, 1))], QUICK)
    assert found["throughput"]["joules_per_image"] == 4.5
    assert "joules_per_image" not in found["latency"]
    assert [asked[1] for asked in given] == [method]  # the other case was given up


def test_where_energy_is_not_counted_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "counter", lambda device: None)
    (found,) = interleaved([case(FakeMethod.load("tiny"))], QUICK)
    assert found["throughput"]["joules_per_image"] is None
    assert found["throughput"]["joules_per_image_interval"] is None


def test_a_row_taken_on_a_throttled_or_shared_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0, jitter=0)
    clock.install(monkeypatch)
    calm = Reading(1980, 2619, 41, 310.5, 700.0, ("idle",), True, 0.97, 0)
    capped = replace(calm, sm_mhz=1410, reasons=("power cap",), others=1)
    readings = iter([calm, *[calm] * 6, calm, *[calm] * 2, *[capped] * 4])  # a warm-up, then six rounds; twice
    monkeypatch.setattr(gpu, "reading", lambda device: next(readings))
    (found,) = interleaved([case(slow(clock.wait, 0.05))], QUICK)
    one, many = found["latency"], found["throughput"]
    assert (one["noisy"], one["why"], one["gpu"]["disturbed"]) == (False, None, False)
    assert not many["noisy"]
    assert many["why"] == "the GPU was throttled (power cap in 4 of 6 samples), 1 other process used the GPU"
    assert (many["gpu"]["sm_mhz"], many["gpu"]["disturbed"]) == ([1410, 1410, 1980], True)
    assert why_disturbed(found) == [f"batch 2: {many['why']}"]


def test_a_noisy_row_on_a_throttled_gpu_says_both(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(drift=0, jitter=0.3)
    clock.install(monkeypatch)
    hot = Reading(1410, 2619, 91, 310.5, 700.0, ("thermal slowdown",), True, 0.97, None)
    monkeypatch.setattr(gpu, "reading", lambda device: hot)
    (found,) = interleaved([case(slow(clock.wait, 0.05))], QUICK)
    assert found["latency"]["noisy"]
    assert found["latency"]["why"] == "the GPU was throttled (thermal slowdown in 6 of 6 samples)"
    assert why_disturbed(found) == []
    assert [line.partition(":")[0] for line in why_noisy(found)] == ["batch 1", "batch 2"]


def test_the_gpus_state_is_recorded_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter([{"gpu_state": "before loading"}, {"gpu_state": "before"}, {"gpu_state": "after"}])
    monkeypatch.setattr(timing, "gpu_state", lambda device: next(states))
    monkeypatch.setattr("harness.machine.conditions.gpu_state", lambda device: next(states))
    (found,) = interleaved([case(FakeMethod.load("tiny"))], QUICK)
    assert [one["gpu_state"] for one in found["conditions"]] == ["before", "after"]
    assert found["latency"]["gpu"] is None
