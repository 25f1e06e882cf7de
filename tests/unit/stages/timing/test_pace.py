"""The machine's pace is told by the cases that were timed right before and after a sample."""

import numpy as np
import pytest

from harness.stages.timing.pace import factors
from harness.stages.timing.stage import interleaved
from harness.stages.timing.summary import noisy, ratio
from tests.unit.stages.timing.test_timing import QUICK, Clock, case, slow, timed

COSTS = np.array([1.0, 1.3, 2.0, 5.0])


def session(rounds: int, seed: int = 0) -> list[int]:
    """Numbers of the cases in the order of a session."""
    rng = np.random.default_rng(seed)
    return [int(case) for _ in range(rounds) for case in rng.permutation(len(COSTS))]


def test_a_pace_that_outlasts_a_few_samples_is_found() -> None:
    cases = session(50)
    pace = np.where(np.arange(len(cases)) // 10 % 2, 1.5, 1.0)
    found = np.array(factors(cases, list(COSTS[cases] * pace)))
    inside = np.arange(len(cases)) % 10 % 9 > 0  # not next to a change
    assert (found / found[1])[inside] == pytest.approx(pace[inside], rel=0.01)
    times = COSTS[cases] * pace / found
    usual = [np.median(times[np.array(cases) == case]) for case in range(len(COSTS))]
    assert usual / usual[0] == pytest.approx(COSTS, rel=0.01)


def test_the_usual_pace_is_the_median_of_all() -> None:
    cases = session(25)
    rng = np.random.default_rng(1)
    pace = np.exp(np.cumsum(rng.normal(0, 0.1, len(cases))))
    assert np.median(factors(cases, list(COSTS[cases] * pace))) == pytest.approx(1.0, rel=1e-4)


def test_noise_that_neighbours_do_not_share_is_left() -> None:
    cases = session(25)
    noise = np.random.default_rng(2).lognormal(0, 0.1, len(cases))
    assert set(factors(cases, list(COSTS[cases] * noise))) == {1.0}


def test_of_two_cases_neither_tells_the_pace_of_the_other() -> None:
    assert factors([0, 1, 1, 0], [1.0, 1.0, 3.0, 3.0]) == [1.0] * 4


class Shared(Clock):
    """A machine whose cores slow down by half for spells that nothing counts, as beside another virtual machine."""

    def wait(self, seconds: float) -> None:
        pace = 1.6 if int(self.now / 0.7) % 2 else 1.0
        self.now += seconds * pace * self.random.lognormvariate(0, 0.03)


def test_a_pace_that_changes_unseen_is_taken_out_by_the_cases_beside_and_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Shared()
    clock.install(monkeypatch)
    costs = [0.04 + 0.002 * place for place in range(12)]
    found = interleaved([case(slow(clock.wait, seconds)) for seconds in costs])
    for one, seconds in zip(found, costs, strict=True):
        latency = one["latency"]
        assert not latency["noisy"]
        assert seconds * 0.97 < latency["total_s"] < seconds * 1.63
        by_the_clock = [sample * pace for sample, pace in zip(latency["samples"], latency["pace"], strict=True)]
        assert noisy(by_the_clock, 13)
        assert max(by_the_clock) / min(by_the_clock) > 1.4
    middle, low, high = ratio(found[10], found[0])
    assert low < 1.5 < high


def test_where_few_are_timed_samples_stay_as_the_clock_gave_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Shared()
    clock.install(monkeypatch)
    found = interleaved([case(slow(clock.wait, 0.05)) for _ in range(3)], QUICK)
    assert {pace for one in timed(found) for pace in one["pace"]} == {1.0}
