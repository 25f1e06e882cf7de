"""The data are the published ones, and what is missing or damaged is said with the ways out."""

import gzip
import shutil
from pathlib import Path

import pytest
import torch

from harness.errors import ArbenchError
from harness.images import bundled
from harness.images.datasets import reference_images, training_images

BUNDLED = bundled.BUNDLED / "fmnist"


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundled files at another place, free to be damaged; Debian's package is not there."""
    shutil.copytree(BUNDLED, tmp_path / "fmnist")
    monkeypatch.setattr(bundled, "BUNDLED", tmp_path)
    monkeypatch.setattr(bundled, "DEBIAN", tmp_path / "no-debian")
    return tmp_path / "fmnist"


@pytest.fixture
def small_training(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test images pass for the training images, so that none have to be fetched."""
    for part in ("images-idx3", "labels-idx1"):
        name = f"-{part}-ubyte.gz"
        shutil.copy(copied / f"t10k{name}", copied / f"train{name}")
        monkeypatch.setitem(bundled.SHA256, f"train{name}", bundled.SHA256[f"t10k{name}"])
    return copied


def test_the_reference_is_the_published_test_set() -> None:
    found = reference_images("fmnist")
    assert found.images.shape == (10000, 1, 28, 28)
    assert found.images.dtype == torch.uint8
    assert found.labels.dtype == torch.int64
    assert torch.bincount(found.labels).tolist() == [1000] * 10
    assert found.labels[:8].tolist() == [9, 2, 1, 1, 6, 1, 4, 6]
    assert float(found.images.double().mean()) == pytest.approx(73.1466, abs=1e-3)
    assert found.sha256 == REFERENCE_SHA256


REFERENCE_SHA256 = "9aa0367667a8ef9c048b56cc573b9ef6c6203b35f70da12de533ddefab3f8cd4"
"""Records name their data by this."""


def test_an_unknown_data_set_is_named_with_the_valid_ones() -> None:
    for read in (reference_images, training_images):
        with pytest.raises(ArbenchError, match="unknown data set 'mnist'; did you mean 'fmnist'"):
            read("mnist")


@pytest.mark.parametrize("kept", [0, 100, 4_000_000])
def test_a_truncated_file_is_named(copied: Path, kept: int) -> None:
    path = copied / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArbenchError, match=path.name):
        reference_images("fmnist")


def test_other_content_under_the_right_name_is_refused(copied: Path) -> None:
    path = copied / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(ArbenchError, match=rf"{path.name} does not hold the published data: sha256 \w+, expected 0402"):
        reference_images("fmnist")


def test_the_same_content_packed_otherwise_is_the_same_data(copied: Path) -> None:
    before = reference_images("fmnist").sha256
    path = copied / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1))
    assert reference_images("fmnist").sha256 == before


def test_without_training_images_the_three_ways_are_told(copied: Path) -> None:
    with pytest.raises(ArbenchError) as caught:
        training_images("fmnist")
    for way in ("no training images found", "--data FOLDER", "apt install dataset-fashion-mnist", "--download FOLDER"):
        assert way in str(caught.value)
    with pytest.raises(ArbenchError, match=r"cannot read .*train-images-idx3-ubyte.gz.*Three ways"):
        training_images("fmnist", copied)


def test_a_folder_that_is_given_comes_first(small_training: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "DEBIAN", small_training.parent)  # holds no images: must not be looked at
    assert len(training_images("fmnist", small_training).images) == 10000


def test_debians_package_is_found_by_itself(small_training: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "DEBIAN", small_training)
    assert len(training_images("fmnist").images) == 10000


def test_torchvision_fetches_what_is_not_there(
    small_training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(root: str, train: bool, download: bool) -> None:
        assert train
        assert download
        shutil.copytree(small_training, Path(root) / "FashionMNIST" / "raw")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", fetch)
    assert len(training_images("fmnist", download_to=tmp_path / "fetched").images) == 10000


def test_a_download_that_fails_tells_the_three_ways(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(root: str, train: bool, download: bool) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", fail)
    with pytest.raises(ArbenchError, match=r"the download failed \(Error downloading .*Three ways"):
        training_images("fmnist", download_to=tmp_path / "fetched")
