"""The Inception extractor, with random weights: same features as torch-fidelity's, and no file is believed unseen."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from harness.errors import ArbenchError
from harness.extractors.inception import InceptionExtractor, load_inception
from harness.images.datasets import Images
from harness.stages.quality.reference_data import reference_for
from tests.helpers import inception


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inception")
    blank = inception.blank(folder)
    path = folder / "random.pth"
    torch.save(blank.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def extractor(weights: Path) -> InceptionExtractor:
    return load_inception(weights, sha256(weights))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pictures(channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (4, channels, 28, 28), generator=generator, dtype=torch.uint8)


def test_features_are_torch_fidelitys(weights: Path, extractor: InceptionExtractor) -> None:
    theirs = FeatureExtractorInceptionV3("t", ["2048", "logits_unbiased"], feature_extractor_weights_path=weights)
    features, logits = theirs(pictures(3))
    found = extractor.features(pictures(3))
    assert found["features"].shape == (4, 2048)
    assert found["logits"].shape == (4, 1008)
    assert features.std() > 0
    torch.testing.assert_close(found["features"], features)
    torch.testing.assert_close(found["logits"], logits)


def test_grey_is_the_same_as_three_equal_channels(extractor: InceptionExtractor) -> None:
    grey = pictures(1)
    repeated = extractor.features(grey.repeat(1, 3, 1, 1))
    torch.testing.assert_close(extractor.features(grey)["features"], repeated["features"])


@pytest.mark.parametrize("images", [torch.zeros(2, 2, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 8)])
def test_images_of_another_kind_are_refused(extractor: InceptionExtractor, images: torch.Tensor) -> None:
    with pytest.raises(ArbenchError, match=r"valid: uint8 \[B, 1 or 3, H, W\]"):
        extractor.features(images)


def test_it_makes_a_reference_without_label_accuracy(extractor: InceptionExtractor, tmp_path: Path) -> None:
    six = torch.cat([pictures(1), pictures(1)[:2].flip(-1)])
    reference = reference_for(Images(six, torch.arange(6), "a file"), extractor, tmp_path)
    assert reference.extractor == "inception"
    assert reference.within is not None
    assert reference.within.features.shape == (6, 2048)
    assert reference.label_accuracy is None
    assert "299" in reference.facts["resize"]


def test_weights_of_an_unknown_hash_are_not_opened(weights: Path) -> None:
    with pytest.raises(ArbenchError, match="sha256 .* expected 6726825d.*; not opened"):
        load_inception(weights)
    with pytest.raises(ArbenchError, match="expected 00ff; not opened"):
        load_inception(weights, "00ff")


class Hostile:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_with_code_is_refused_even_where_its_hash_was_given(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "hostile.pth"
    torch.save({"fc.weight": Hostile(mark)}, path)
    for given in (None, sha256(path)):
        with pytest.raises(ArbenchError):
            load_inception(path, given)
    assert not mark.exists()


def test_missing_truncated_and_unfitting_weights_are_one_clear_line_each(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ArbenchError, match="cannot read the Inception weights .*gone.pth .*give the path of"):
        load_inception(tmp_path / "gone.pth")
    truncated, other = tmp_path / "truncated.pth", tmp_path / "other.pth"
    truncated.write_bytes(weights.read_bytes()[:-100_000])
    with pytest.raises(ArbenchError, match="truncated.pth hold more than tensors, or are damaged"):
        load_inception(truncated, sha256(truncated))
    torch.save({"fc.weight": torch.zeros(3)}, other)
    with pytest.raises(ArbenchError, match="other.pth do not fit: .*Missing key"):
        load_inception(other, sha256(other))


def test_a_worker_that_needs_no_inception_does_not_wait_for_torchvision() -> None:
    heavy = ("torchvision", "torch_fidelity")
    program = f"import sys, harness.jobs.bench; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
