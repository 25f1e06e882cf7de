"""Fidelity metrics: equal to torch-fidelity's where those are right, independent of order, clear about bad input."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch_fidelity.metric_fid import fid_featuresdict_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_featuresdict_to_metric

from harness.errors import ArbenchError
from harness.stages.quality import distributions
from harness.stages.quality import features as arrays
from harness.stages.quality.distributions import Gaussian, Moments
from harness.stages.quality.pairs import Within, compare

Matrix = NDArray[np.float32]


def features(seed: int, count: int, width: int = 16, scale: float = 1.0, shift: float = 0.3) -> Matrix:
    """Correlated, non-negative, partly zero: like features after a ReLU."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).standard_normal((width, width)) / np.sqrt(width)
    return np.maximum(scale * rng.standard_normal((count, width)) @ mix + shift, 0).astype(np.float32)


def theirs(array: NDArray[Any]) -> dict[str, torch.Tensor]:
    return {"f": torch.from_numpy(array)}


def torch_fidelity_fid(one: NDArray[Any], other: NDArray[Any]) -> float:
    stats = [fid_featuresdict_to_statistics(theirs(array.astype(np.float64)), "f") for array in (one, other)]
    return float(fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"])


def fid(one: NDArray[Any], other: NDArray[Any]) -> float:
    return distributions.fid(Moments.of(one).gaussian(), Moments.of(other).gaussian())


@pytest.mark.parametrize("width", [2, 16, 128])
def test_fid_equals_torch_fidelitys(width: int) -> None:
    one, other = features(0, 700, width), features(1, 900, width, scale=1.3)
    assert fid(one, other) == pytest.approx(torch_fidelity_fid(one, other), rel=1e-6, abs=1e-6)


def test_fid_with_a_singular_covariance_equals_torch_fidelitys() -> None:
    one, other = features(0, 500), features(1, 600)
    one[:, 3] = 0.0  # a dead unit
    other[:, 5] = other[:, 4]
    assert fid(one, other) == pytest.approx(torch_fidelity_fid(one, other), rel=1e-6, abs=1e-6)
    assert fid(other, one) == pytest.approx(fid(one, other), rel=1e-6)


def test_fid_of_known_gaussians_is_the_closed_form() -> None:
    one = Gaussian(np.array([1.0, 0.0]), np.diag([4.0, 9.0]))
    other = Gaussian(np.array([0.0, 2.0]), np.diag([1.0, 1.0]))
    assert distributions.frechet(one, other) == pytest.approx(1 + 4 + (2 - 1) ** 2 + (3 - 1) ** 2)


def test_fid_of_a_set_with_itself_is_zero() -> None:
    one = features(0, 400)
    assert fid(one, one) == pytest.approx(0, abs=1e-8)


def test_fid_refuses_fewer_images_than_dimensions_on_either_side() -> None:
    few, many = features(0, 16), features(1, 100)
    with pytest.raises(ArbenchError, match="samples: 16 images for 16 dimensions"):
        fid(few, many)
    with pytest.raises(ArbenchError, match="reference: 16 images for 16 dimensions"):
        fid(many, few)


def test_float32_and_float64_of_the_same_features_give_one_fid() -> None:
    one, other = features(0, 300), features(1, 300)
    assert fid(one, other) == fid(one.astype(np.float64), other)


def test_a_reference_of_another_width_is_refused() -> None:
    one, other = features(0, 300, 16), features(1, 300, 12)
    with pytest.raises(ArbenchError, match="16 dimensions, the reference 12"):
        fid(one, other)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (np.zeros((4, 3), np.uint8), "type uint8"),
        (np.zeros((4, 3), np.float16), "type float16"),
        (torch.zeros(4, 3, dtype=torch.bfloat16), "type torch.bfloat16"),
        (np.zeros((4, 3, 2), np.float32), r"shape \(4, 3, 2\)"),
        (np.zeros((0, 3), np.float32), r"shape \(0, 3\)"),
        (np.array([[1.0, np.nan], [0.0, 1.0], [np.inf, 0.0]]), "2 of 3 rows hold values that are not finite"),
    ],
)
def test_arrays_that_are_no_features_are_refused(bad: object, complaint: str) -> None:
    with pytest.raises(ArbenchError, match=complaint):
        arrays.checked(bad)


def test_features_may_come_as_tensors() -> None:
    one = features(0, 300)
    np.testing.assert_array_equal(Moments.of(torch.from_numpy(one)).scatter, Moments.of(one).scatter)


def test_stored_statistics_are_checked_before_use() -> None:
    mean, covariance = np.zeros(3), np.eye(3)
    assert Gaussian.stored(mean.astype(np.float32), covariance, "x.npz").mean.dtype == np.float64
    with pytest.raises(ArbenchError, match=r"x.npz: mean \(3,\) and covariance \(2, 2\)"):
        Gaussian.stored(mean, np.eye(2), "x.npz")
    with pytest.raises(ArbenchError, match=r"x.npz: the covariance is not symmetric"):
        Gaussian.stored(mean, np.triu(np.ones((3, 3))), "x.npz")
    with pytest.raises(ArbenchError, match=r"x.npz: the statistics hold values that are not finite"):
        Gaussian.stored(mean, covariance * np.nan, "x.npz")


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(ArbenchError, match="2 images or more"):
        Moments.of(features(0, 1)).gaussian()


def test_inception_score_equals_torch_fidelitys_with_one_split() -> None:
    logits = 3 * features(0, 1000, 10)
    expected = isc_featuresdict_to_metric(theirs(logits), "f", isc_splits=1, samples_shuffle=False, verbose=False)
    assert distributions.inception_score(logits) == pytest.approx(expected["inception_score_mean"], rel=1e-12)


def test_inception_score_runs_from_one_to_the_number_of_classes() -> None:
    assert distributions.inception_score(np.zeros((50, 10))) == pytest.approx(1)
    assert distributions.inception_score(np.tile(np.eye(10) * 1e4, (5, 1))) == pytest.approx(10)  # saturated: 0 log 0
    assert distributions.inception_score(np.tile(np.eye(10)[:1] * 1e4, (5, 1))) == pytest.approx(1)


def every_figure(sample: Matrix, logits: Matrix, reference: Matrix) -> list[float]:
    between = compare(Within.of(sample), Within.of(reference))
    return [fid(sample, reference), distributions.inception_score(logits), *between.figures.values()]


def test_no_metric_depends_on_the_order_of_the_images() -> None:
    sample, reference = features(0, 600), features(1, 700)
    logits = 2 * features(2, 600, 10)
    expected = every_figure(sample, logits, reference)
    shuffled = np.random.default_rng(3).permutation(600)
    by_class = logits.argmax(1).argsort()
    for order in (shuffled, by_class):
        assert every_figure(sample[order], logits[order], reference) == pytest.approx(expected, rel=1e-9)
