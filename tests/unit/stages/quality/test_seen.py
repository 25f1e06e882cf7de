"""What an extractor sees in images does not depend on how many images there are, or on how they lie in files."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ArbenchError
from harness.extractors.inception import FEATURES, InceptionExtractor
from harness.files import read_arrays, write_arrays
from harness.images.reading import AS_THEY_ARE
from harness.stages.quality.reference import write
from harness.stages.quality.reference_files import BATCH, facts_of, of_seen, open_reference, reference_of, remembered
from harness.stages.quality.seen import watched
from tests.helpers import light


class Sociable(InceptionExtractor):
    """An extractor whose features depend on how many images it is given at once."""

    rows: ClassVar[list[int]] = []

    def features(self, images: Tensor) -> dict[str, Tensor]:
        self.rows.append(len(images))
        return {name: values + len(images) for name, values in super().features(images).items()}


@pytest.fixture
def extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sociable:
    made = light.in_place(monkeypatch, tmp_path)
    Sociable.rows.clear()
    assert made.weights is not None
    return Sociable(made.name, made.network, made.weights)


def npz(path: Path, images: NDArray[np.uint8]) -> Path:
    np.savez(path, arr_0=images)
    return path


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def test_the_last_batch_and_the_last_of_each_file_are_filled(extractor: Sociable, tmp_path: Path) -> None:
    images = pictures(23)
    whole = watched(npz(tmp_path / "whole.npz", images), extractor, 5)
    assert set(Sociable.rows) == {5} and len(Sociable.rows) == 5
    parts = [npz(tmp_path / f"{place}.npz", part) for place, part in enumerate((images[:7], images[7:8], images[8:]))]
    cut = watched(parts, extractor, 5)
    fewer = watched(npz(tmp_path / "fewer.npz", images[:12]), extractor, 5)
    assert set(Sociable.rows) == {5}
    for name, rows in whole.arrays.items():
        assert len(rows) == 23
        np.testing.assert_array_equal(cut.arrays[name], rows)
        np.testing.assert_array_equal(fewer.arrays[name], rows[:12])


def test_how_images_were_seen_is_in_the_facts(extractor: Sociable, tmp_path: Path) -> None:
    seen = watched(npz(tmp_path / "whole.npz", pictures(9)), extractor, 5)
    assert (seen.about["batch"], seen.about["tf32"]) == (5, "off")
    about = of_seen(seen, extractor).about()
    assert (about["batch"], about["tf32"]) == (5, "off")


def test_a_reference_of_another_batch_or_arithmetic_is_another_and_usual_ones_keep_their_keys(
    extractor: Sociable, tmp_path: Path
) -> None:
    path = npz(tmp_path / "whole.npz", pictures(9))
    usual = facts_of(path, extractor)
    assert facts_of(path, extractor, batch=BATCH) == usual
    assert not {"batch", "tf32"} & usual.keys()
    asking = Sociable(extractor.name, extractor.network, path)
    asking.tf32 = "on"
    assert facts_of(path, extractor, batch=5) == {**usual, "batch": 5}
    assert facts_of(path, asking)["tf32"] == "on"
    said: list[str] = []
    for batch in (4, 5, 4):
        remembered(path, extractor, batch, AS_THEY_ARE, tmp_path / "cache", said.append)
    assert [line.split(" (")[0].split(" in ")[0] for line in said] == [
        "reference: kept",
        "reference: kept",
        "reference: as it was seen before",
    ]


def test_a_reference_that_was_built_in_another_arithmetic_is_refused(extractor: Sociable, tmp_path: Path) -> None:
    path = npz(tmp_path / "whole.npz", pictures(9))
    extractor.tf32 = "on"
    write(tmp_path / "built.npz", open_reference(path, extractor, 5))
    assert open_reference(tmp_path / "built.npz", extractor, 5).tf32 == "on"
    extractor.tf32 = "off"
    with pytest.raises(ArbenchError, match=r"built\.npz was made with tf32 on \(here it is off\)"):
        open_reference(tmp_path / "built.npz", extractor, 5)


def as_an_earlier_version_wrote(file: Path) -> None:
    """Takes away that a reference's file says whether TF32 was used, and moves its statistics."""
    stored = read_arrays(file)
    about = json.loads(str(stored["about"]))
    assert about.pop("tf32") == "off"
    write_arrays(file, {**stored, "mu": stored["mu"] + 1, "about": np.array(json.dumps(about))})


def test_a_file_that_an_earlier_version_built_is_read_and_says_that_its_arithmetic_is_unknown(
    extractor: Sociable, tmp_path: Path
) -> None:
    write(tmp_path / "built.npz", open_reference(npz(tmp_path / "whole.npz", pictures(9)), extractor, 5))
    as_an_earlier_version_wrote(tmp_path / "built.npz")
    for asked in ("off", "on"):
        extractor.tf32 = asked
        assert open_reference(tmp_path / "built.npz", extractor, 5).about()["tf32"] == "unknown"


def test_what_an_earlier_version_kept_is_computed_anew_under_the_same_key(extractor: Sociable, tmp_path: Path) -> None:
    """It may have been computed with TF32."""
    path, cache = npz(tmp_path / "whole.npz", pictures(9)), tmp_path / "cache"
    first = reference_of(path, extractor, cache)
    (kept,) = cache.iterdir()
    as_an_earlier_version_wrote(kept)
    again = reference_of(path, extractor, cache)
    assert again.key == first.key
    np.testing.assert_array_equal(again.gaussian.mean, first.gaussian.mean)
    assert [file.name for file in cache.iterdir()] == [kept.name]


def test_the_batch_is_no_fact_of_a_reference_without_images(extractor: Sociable, tmp_path: Path) -> None:
    images = npz(tmp_path / "whole.npz", pictures(9))
    write(tmp_path / "built.npz", open_reference(images, extractor, 5))
    mu, sigma = np.zeros(FEATURES), np.eye(FEATURES)
    np.savez(tmp_path / "stored.npz", mu=mu, sigma=sigma)
    np.savez(tmp_path / "both.npz", mu=mu, sigma=sigma, arr_0=np.zeros((2, 8, 8, 3), np.uint8))
    for name, has in (("built", False), ("stored", False), ("both", True), ("whole", True)):
        assert ("batch" in facts_of(tmp_path / f"{name}.npz", extractor, batch=5)) is has


def test_torchs_settings_are_left_as_they_were(extractor: Sociable, tmp_path: Path) -> None:
    before = torch.backends.cudnn.allow_tf32
    watched(npz(tmp_path / "whole.npz", pictures(9)), extractor, 5)
    assert torch.backends.cudnn.allow_tf32 is before
