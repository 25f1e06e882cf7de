"""Intervals hold what they promise: the spread of other images, and the value at infinitely many."""

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.stages.quality.distributions import Moments, Posteriors, frechet
from harness.stages.quality.fidelity import Fidelity
from harness.stages.quality.pairs import Within
from harness.stages.quality.resampling import REPLICATES, Resampling, frechet_replicates, interval
from tests.unit.stages.quality.test_distributions import features

WIDTH, IMAGES = 12, 600
CLASSES = np.arange(IMAGES) % 10


def images(seed: int, count: int = IMAGES) -> NDArray[np.float32]:
    return features(seed, count, WIDTH, scale=1.15)


@pytest.fixture(scope="module")
def population() -> NDArray[np.float32]:
    """So many images that they stand for all."""
    return images(1000, 200_000)


@pytest.fixture(scope="module")
def reference() -> NDArray[np.float32]:
    return features(2000, 2000, WIDTH)


def test_classes_are_dealt_evenly_whatever_their_order() -> None:
    labels = np.repeat(np.arange(10), 500)
    for given in (labels, np.random.default_rng(0).permutation(labels)):
        draws = Resampling(given)
        held = np.array([np.bincount(given[draws.group == group], minlength=10) for group in range(draws.groups)])
        assert (held == 2).all()
        assert np.allclose(draws.weights @ draws.sizes, len(labels))


def test_trials_that_share_labels_are_resampled_alike() -> None:
    one, other = Resampling(CLASSES), Resampling(CLASSES.copy())
    assert np.array_equal(one.group, other.group)
    assert np.array_equal(one.weights, other.weights)


def test_replicates_of_a_mean_scatter_as_a_mean_does() -> None:
    values = np.random.default_rng(0).standard_normal(IMAGES)
    found = Resampling(CLASSES).means(values)
    assert found.shape == (REPLICATES,)
    assert found.mean() == pytest.approx(values.mean(), abs=0.005)
    assert found.std() == pytest.approx(1 / np.sqrt(IMAGES), rel=0.15)


def test_classes_that_are_given_add_no_spread() -> None:
    by_class = CLASSES * 100.0 + np.random.default_rng(0).standard_normal(IMAGES)
    assert Resampling(CLASSES).means(by_class).std() < 0.1
    assert Resampling(np.zeros(IMAGES, np.int64)).means(by_class).std() > 5


def test_replicates_of_the_inception_score_are_scores_of_the_images_drawn() -> None:
    logits = 2 * features(3, IMAGES, 10)
    draws = Resampling(CLASSES)
    places = np.repeat(np.arange(IMAGES), np.rint(draws.weights[7][draws.group]).astype(int))
    assert len(places) == IMAGES  # groups of even size: their weights are whole numbers
    assert draws.inception_score(logits)[7] == pytest.approx(Posteriors.of(logits[places]).score(), rel=1e-12)


def test_fid_falls_to_its_value_at_infinitely_many_images(
    population: NDArray[np.float32], reference: NDArray[np.float32]
) -> None:
    against = Moments.of(reference).gaussian()
    true = frechet(Moments.of(population).gaussian(), against)
    found = [frechet_replicates(images(seed), against, Resampling(CLASSES)) for seed in range(60)]
    plain = np.array([one.value for one in found if one])
    infinite = np.array([one.infinite for one in found if one])
    noise = plain.std() / np.sqrt(60)
    assert plain.mean() - true > 6 * noise  # the plain one is too high
    assert infinite.mean() == pytest.approx(true, abs=3 * noise)


def test_intervals_cover_what_they_say(population: NDArray[np.float32], reference: NDArray[np.float32]) -> None:
    among, logits_of = Within.of(reference), np.random.default_rng(5).standard_normal((WIDTH, 10))
    against = Moments.of(reference).gaussian()
    true = frechet(Moments.of(population).gaussian(), against)
    found = []
    for seed in range(80):
        fidelity = Fidelity(Resampling(CLASSES))
        fidelity.frechet("x", images(seed), against)
        fidelity.inception_score(images(seed) @ logits_of)
        fidelity.pairs(images(seed), among)
        found.append(fidelity)
    values = {name: np.array([one.values[name] for one in found], np.float64) for name in found[0].intervals}
    means = {name: float(of.mean()) for name, of in values.items()}
    means["fid_infinity.x"] = true
    assert set(means) == {
        "fid.x", "fid_infinity.x", "is", "kid", "precision", "recall", "density", "coverage"
    }  # fmt: skip
    for name, mean in means.items():
        hits = sum(one.intervals[name][0] <= mean <= one.intervals[name][1] for one in found)
        assert hits >= 69, (name, hits)  # 76 expected; fewer than 69 happens once in 500
    narrow = [one.intervals["fid.x"] for one in found]
    spread = values["fid.x"].std()
    assert np.mean([high - low for low, high in narrow]) < 2 * 1.96 * spread * 1.4  # and not by being too wide


def test_intervals_hold_the_chance_of_labels_that_were_drawn(reference: NDArray[np.float32]) -> None:
    """Classes far apart: how many images there are of each, which random labels leave to chance, moves FID most."""
    against, chance, apart = Moments.of(reference).gaussian(), np.random.default_rng(7), np.arange(WIDTH) % 3 == 0
    hits = {"drawn": 0, "given": 0}
    found = []
    for seed in range(80):
        labels = chance.integers(10, size=IMAGES)
        sample = images(seed) + 0.3 * labels[:, None] * apart
        draws = {"drawn": Resampling(np.zeros_like(labels)), "given": Resampling(labels)}
        found.append({name: frechet_replicates(sample, against, one) for name, one in draws.items()})
    mean = np.mean([one["drawn"].value for one in found if one["drawn"]])
    for one in found:
        for name, replicated in one.items():
            assert replicated is not None
            low, high = interval(replicated.value, replicated.replicates)
            hits[name] += int(low <= mean <= high)
    assert hits["drawn"] >= 69  # 76 expected
    assert hits["given"] < 60  # what the intervals of balanced labels would promise here


def test_an_interval_stands_around_the_figure() -> None:
    low, high = interval(3.0, np.random.default_rng(0).standard_normal(100_000) + 50)
    assert (low, high) == pytest.approx((3 - 1.96, 3 + 1.96), abs=0.03)


def test_too_few_images_give_a_figure_without_an_interval() -> None:
    against = Moments.of(features(1, 300, WIDTH)).gaussian()
    found = Fidelity(Resampling(CLASSES[:20]))
    found.frechet("x", images(0, 20), against)
    assert found.values["fid.x"] is not None
    assert found.values["fid_infinity.x"] is None
    assert found.intervals == {}
    some = Fidelity(Resampling(CLASSES[:60]))
    some.frechet("x", images(0, 60), against)
    assert set(some.intervals) == {"fid.x"}
    assert some.flags == ["FID (x): 60 images are too few to extrapolate, the interval is too wide"]
