"""The frontier knows what it does not know."""

from pathlib import Path

import numpy as np
import pytest

from harness.records.store import Store
from reports import table
from reports.certainty import OFF, ON, UNDECIDED, Certainty, standings
from reports.frontier import Better, frontier
from tests.helpers import fakes_store

NOISE = np.random.default_rng(0).standard_normal((4, 1000))


def replicates(values: list[float], spread: float) -> np.ndarray:
    return np.array(values)[:, None] + spread * NOISE[: len(values)]


def test_points_far_apart_are_decided_and_close_ones_are_not() -> None:
    cost = replicates([1, 2, 3, 4], 0)
    assert standings(cost, replicates([10, 9, 8, 12], 0.05)) == [ON, ON, ON, OFF]
    assert standings(cost, replicates([10, 9.98, 8, 12], 0.05)) == [ON, UNDECIDED, ON, OFF]


def test_equal_points_stand_together() -> None:
    same = np.repeat(replicates([5], 0.5), 2, axis=0)
    assert standings(np.ones((2, 1000)), same) == [ON, ON]


def test_noise_that_all_points_share_undecides_nothing() -> None:
    cost, shared = replicates([1, 2], 0), 5 * NOISE[3]
    assert standings(cost, np.array([[9.0], [9.5]]) + shared) == [ON, OFF]


@pytest.mark.parametrize("better", ["low", "high"])
def test_the_good_end_is_respected_and_what_is_not_measured_has_no_standing(better: Better) -> None:
    sign = 1 if better == "low" else -1
    x, y = replicates([1, 2, np.nan], 0), sign * replicates([9, 10, 1], 0.1)
    assert standings(x, y, ("low", better)) == [ON, OFF, ""]


def test_points_that_are_left_out_beforehand_change_nothing() -> None:
    rng = np.random.default_rng(1)
    x, y = (rng.uniform(1, 2, (60, 1)) + 0.05 * rng.standard_normal((60, 200)) for _ in "xy")
    for better in (("low", "low"), ("high", "low"), ("low", "high")):
        shares = np.mean([frontier(cost, score, better) for cost, score in zip(x.T, y.T, strict=True)], axis=0)
        plain = [ON if share >= 0.95 else OFF if share <= 0.05 else UNDECIDED for share in shares]
        assert standings(x, y, better) == plain
        assert 0 < sum(word != OFF for word in plain) < 30


def test_settings_of_a_store_are_judged_by_their_replicates(tmp_path: Path) -> None:
    made = fakes_store.records()
    store = Store(fakes_store.write(tmp_path, made))
    settings = table.over_seeds(table.comparable(table.tidy(made, "fmnist-cnn"))[0])
    measures = {measure.name: measure for measure in table.named("fmnist-cnn")}
    certainty = Certainty(store, {record["key"]: record for record in made}, "fmnist-cnn")
    for cost in ("gflops", "latency", "throughput"):
        found = certainty.standing(settings, measures[cost], measures["fid"])
        assert set(found) == {ON, UNDECIDED, OFF}


def test_energy_is_as_certain_as_its_interval(tmp_path: Path) -> None:
    made = fakes_store.records()[:4]
    for record, joules, ends in zip(
        made, (2.0, 3.0, 3.01, 4.0), ([1.9, 2.1], [2.7, 3.3], [2.7, 3.3], None), strict=True
    ):
        record["timing"]["throughput"] |= {"joules_per_image": joules, "joules_per_image_interval": ends}
    store = Store(fakes_store.write(tmp_path, made))
    rows = table.dicts(table.over_seeds(table.comparable(table.tidy(made, "fmnist-cnn"))[0]))
    certainty = Certainty(store, {record["key"]: record for record in made}, "fmnist-cnn")
    known = {row["joules"]: certainty.of(row, "joules") for row in rows}
    assert {joules: round(drawn.mean(), 2) for joules, drawn in known.items()} == {
        2.0: 2.0,
        3.0: 3.0,
        3.01: 3.01,
        4.0: 4.0,
    }
    assert np.quantile(known[2.0], [0.025, 0.975]) == pytest.approx([1.9, 2.1], abs=0.03)
    assert np.corrcoef(known[3.0], known[3.01])[0, 1] == pytest.approx(0, abs=0.1)
    assert known[4.0].std() == 0  # an older record has no interval
