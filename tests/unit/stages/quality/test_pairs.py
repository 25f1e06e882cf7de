"""KID, precision and recall are torch-fidelity's; density and coverage are their definition; all in bounded memory."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from torch_fidelity.metric_kid import kid_featuresdict_to_metric
from torch_fidelity.metric_prc import prc_featuresdict_to_metric

from harness.errors import ArbenchError
from harness.stages.quality import pairs
from harness.stages.quality.pairs import FAR, Within, compare
from tests.unit.stages.quality.test_distributions import features, theirs


def figures(sample: NDArray[np.floating], reference: NDArray[np.floating]) -> dict[str, float]:
    return compare(Within.of(sample), Within.of(reference)).figures


def test_kid_equals_torch_fidelitys_on_one_subset_of_all_images() -> None:
    sample, reference = features(0, 400), features(1, 400, scale=1.2)
    expected = kid_featuresdict_to_metric(
        theirs(sample.astype(np.float64)), theirs(reference.astype(np.float64)), "f",
        kid_subsets=1, kid_subset_size=400, verbose=False,
    )  # fmt: skip
    assert figures(sample, reference)["kid"] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)


def test_kid_is_what_torch_fidelitys_subsets_scatter_around() -> None:
    sample, reference = features(0, 1500), features(1, 1300, scale=1.2)
    expected = kid_featuresdict_to_metric(theirs(sample), theirs(reference), "f", kid_subset_size=500, verbose=False)
    mean, spread = (expected[f"kernel_inception_distance_{part}"] for part in ("mean", "std"))
    assert figures(sample, reference)["kid"] == pytest.approx(mean, abs=4 * spread / 10)


def test_the_influence_of_an_image_on_kid_is_what_its_loss_costs() -> None:
    sample, reference = features(0, 60), Within.of(features(1, 80, scale=1.2))
    whole = compare(Within.of(sample), reference)
    without = np.array([compare(Within.of(np.delete(sample, i, 0)), reference).kid for i in range(60)])
    lost = without.mean() - without
    np.testing.assert_allclose(whole.kid_influence, 59 * lost, rtol=0.1, atol=0.02 * np.abs(59 * lost).max())


@pytest.mark.parametrize("tile", [(512, 2048), (64, 100), (1000, 3)])
def test_precision_and_recall_equal_torch_fidelitys_whatever_the_blocks(
    tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_ROWS", tile[0])
    monkeypatch.setattr(pairs, "_COLUMNS", tile[1])
    sample, reference = features(0, 400, scale=0.9), features(1, 500)
    expected = prc_featuresdict_to_metric(
        theirs(sample.astype(np.float64)), theirs(reference.astype(np.float64)), "f", save_cpu_ram=False, verbose=False
    )
    found = figures(sample, reference)
    assert 0.1 < found["recall"] < found["precision"] < 0.99  # the test would prove little at 0 or 1
    assert found["precision"] == pytest.approx(expected["precision"], abs=1e-6)
    assert found["recall"] == pytest.approx(expected["recall"], abs=1e-6)


def test_density_and_coverage_are_their_definition() -> None:
    sample, reference = features(0, 90).astype(np.float64), features(1, 110, scale=1.1).astype(np.float64)
    among = np.linalg.norm(reference[:, None] - reference[None], axis=2)
    radius = np.sort(among, axis=1)[:, FAR]  # itself is at place 0
    held = np.linalg.norm(sample[:, None] - reference[None], axis=2) <= radius
    found = figures(sample, reference)
    assert found["density"] == pytest.approx(held.sum() / (FAR * len(sample)), rel=1e-12)
    assert found["coverage"] == pytest.approx(held.any(axis=0).mean(), rel=1e-12)
    assert 0.3 < found["coverage"] < 1


def test_what_a_group_has_to_itself_is_what_recall_and_coverage_lose_without_it() -> None:
    sample, reference = Within.of(features(0, 120)), Within.of(features(1, 150, scale=1.3))
    group = np.arange(120) % 6
    whole = compare(sample, reference, group)
    for one in range(6):
        rest = group != one
        left = compare(Within(sample.features[rest], sample.radii[rest], sample.kernel[rest]), reference)
        assert whole.recalled.sum() - left.recalled.sum() == whole.recalled_by[one]
        assert whole.covered.sum() - left.covered.sum() == whole.covered_by[one]
    assert whole.recalled_by.sum() > 0


def test_precision_falls_with_stray_samples_and_recall_with_lost_modes() -> None:
    rng = np.random.default_rng(0)
    reference = np.concatenate([rng.standard_normal((200, 4)), rng.standard_normal((200, 4)) + 50])
    one_mode = rng.standard_normal((200, 4))
    stray = np.concatenate([rng.standard_normal((100, 4)), rng.standard_normal((100, 4)) - 50])
    found = figures(one_mode, reference)
    assert found["precision"] > 0.9
    assert 0.4 < found["recall"] <= 0.5
    assert 0.4 < found["coverage"] <= 0.5
    assert 0.4 < figures(stray, reference)["precision"] <= 0.5


def test_a_set_of_copies_covers_itself() -> None:
    copies = np.repeat(features(0, 5), 8, axis=0)  # every radius is zero
    found = figures(copies, copies)
    assert (found["precision"], found["recall"], found["coverage"]) == (1.0, 1.0, 1.0)


def test_sides_that_do_not_fit_are_refused() -> None:
    one, other = features(0, 300, 16), features(1, 300, 12)
    with pytest.raises(ArbenchError, match="16 dimensions, the reference 12"):
        compare(Within.of(one), Within.of(other))
    kept = Within.of(one)
    with pytest.raises(ArbenchError, match=r"300 images, but radii \(299, 2\)"):
        Within(one, kept.radii[1:], kept.kernel)
    with pytest.raises(ArbenchError, match="samples: neighbours take more than 5 images a side, there are 5"):
        Within.of(features(0, 5), "samples")


PEAK = """
import resource, numpy as np
from harness.stages.quality.pairs import Within, compare
rng = np.random.default_rng(0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = [rng.standard_normal((10_000, 16), np.float32) for _ in range(2)]
compare(*(Within(one, np.ones((10_000, 2)), np.ones(10_000)) for one in made))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_ten_thousand_images_a_side_take_a_quarter_of_their_distances_memory() -> None:
    """Which is 400 MB. `nox -s large` has 50,000 images of 2048 dimensions."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100
