"""Intervals of medians, centres and ratios: they cover as often as they say, and one outlier does not move them."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import ArbenchError
from harness.stages.timing import summary
from harness.stages.timing.intervals import centre_interval, mean_interval, median_interval, sequential_interval
from harness.stages.timing.summary import LOOK, ratio


@pytest.mark.parametrize("disturbed_rounds", [1, 2])
def test_one_or_two_disturbed_rounds_of_thirteen_do_not_widen_an_interval(disturbed_rounds: int) -> None:
    samples = list(np.random.default_rng(0).normal(1, 0.01, 13))
    low, high, coverage = summary.interval(samples)
    samples[:disturbed_rounds] = [40.0] * disturbed_rounds  # 6.8 to 261 images/s, as it was
    worse_low, worse_high, _ = summary.interval(samples)
    assert coverage >= 0.95
    assert worse_high - worse_low < 0.05
    assert not summary.noisy(samples, 13)


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
        for samples in draw((600, 39)).tolist():
            count = next((n for n in (13, 26) if not summary.noisy(samples[:n], 13)), 39)
            low, high, _ = summary.interval(samples[:count])
            hits += low <= truth <= high
            lengths.add(count)
        assert lengths == {13, 26, 39}, name
        assert hits / 600 >= 0.95 - 0.018, name  # two standard errors


def test_the_risk_of_an_interval_looked_at_often_is_five_per_cent_in_all() -> None:
    """At every look of 300 samples, whatever came out at earlier ones: the interval lies to one side of the median."""
    rng = np.random.default_rng(0)
    below = np.cumsum(rng.random((20_000, 300)) < 0.5, axis=1)  # how many of the first samples lie below the median
    missed = np.zeros(len(below), bool)
    for size in range(LOOK, 301, LOOK):
        low, high, _ = sequential_interval(list(range(size)), LOOK)
        missed |= (below[:, size - 1] <= low) | (below[:, size - 1] > high)
    assert 0.04 < missed.mean() <= 0.05 + 0.003  # two standard errors


@pytest.mark.parametrize(("size", "dropped"), [(5, 0), (12, 1), (13, 2), (26, 7), (39, 11)])
def test_of_thirteen_rounds_two_on_each_side_are_left_out_and_more_of_more(size: int, dropped: int) -> None:
    low, high, coverage = sequential_interval(list(range(size)), LOOK)
    assert (low, high) == (dropped, size - 1 - dropped)
    assert (coverage >= 0.95) == (size > 5)


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


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_interval_of_a_mean_covers_as_often_as_it_says(size: int) -> None:
    drawn = np.random.default_rng(0).normal(7, 2, (4000, size))
    ends = [mean_interval(list(samples))[1:] for samples in drawn]
    assert np.mean([low <= 7 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.012)


def test_a_mean_of_one_sample_has_no_interval() -> None:
    with pytest.raises(ArbenchError, match="1 samples are too few for an interval of the mean .valid: 2 or more"):
        mean_interval([1.0])


def test_no_samples_have_no_median() -> None:
    with pytest.raises(ArbenchError, match="no centre"):
        centre_interval([])
    with pytest.raises(ArbenchError, match="no samples"):
        median_interval([])


@pytest.mark.parametrize("rounds", [12, 18, 30])
def test_a_ratio_lies_within_its_own_interval_whatever_disturbs_the_rounds(rounds: int) -> None:
    drawn = np.random.default_rng(0)
    for _ in range(200):
        one, other = (
            {"session": "s", "latency": {"samples": list(np.exp(drawn.standard_t(1, rounds).clip(-20, 20)))}}
            for _ in range(2)
        )
        middle, low, high = ratio(one, other)
        assert low <= middle <= high
