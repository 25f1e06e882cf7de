"""What an extractor sees in images does not depend on how many images there are, or on how they lie in files."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ArbenchError
from harness.extractors.inception import InceptionExtractor
from harness.images.reading import AS_THEY_ARE
from harness.stages.quality.reference import write
from harness.stages.quality.reference_files import BATCH, facts_of, of_seen, open_reference, remembered
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


def test_torchs_settings_are_left_as_they_were(extractor: Sociable, tmp_path: Path) -> None:
    before = torch.backends.cudnn.allow_tf32
    watched(npz(tmp_path / "whole.npz", pictures(9)), extractor, 5)
    assert torch.backends.cudnn.allow_tf32 is before
