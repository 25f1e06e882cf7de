"""The reference cache and the quality stage: a changed input never gives a stale figure."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness import files
from harness.errors import ArbenchError
from harness.extractors.base import Extractor
from harness.images.datasets import Images
from harness.stages.quality import stage as quality
from harness.stages.quality.distributions import Moments, frechet, inception_score
from harness.stages.quality.pairs import Within
from harness.stages.quality.reference import Reference
from harness.stages.quality.reference_data import reference_for


class TinyExtractor(Extractor):
    """A random projection of 6x6 images; counts the images that it has seen."""

    architecture = "projection"

    def __init__(self, seed: int = 0, name: str = "tiny") -> None:
        network = nn.Linear(36, 12)
        with torch.no_grad():
            network.weight.copy_(torch.randn(12, 36, generator=torch.Generator().manual_seed(seed)))
            network.bias.zero_()
        super().__init__(name, network, Path("tiny"))
        self.seen = 0
        self.gain = 1.0

    @torch.inference_mode()
    def features(self, images: Tensor) -> dict[str, Tensor]:
        self.seen += len(images)
        found = self.gain * self.network(images.flatten(1).float() / 255)
        return {"features": found[:, :8], "logits": found[:, 8:]}


def pictures(seed: int, count: int = 1200) -> Images:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(count) % 4, f"file-hash-{seed}")


def arrays(reference: Reference) -> list[NDArray[Any]]:
    """All arrays of a data set's reference."""
    assert isinstance(reference.within, Within) and reference.logits is not None
    within, moments = reference.within, reference.gaussian
    return [within.features, within.radii, within.kernel, reference.logits, moments.mean, moments.covariance]


def same(one: Reference, other: Reference) -> bool:
    pairs = zip(arrays(one), arrays(other), strict=True)
    return one.about() == other.about() and all(np.array_equal(*pair) for pair in pairs)


def test_a_second_use_reads_the_cache_and_gives_the_same(tmp_path: Path) -> None:
    extractor = TinyExtractor()
    first = reference_for(pictures(0), extractor, tmp_path / "cache")
    assert extractor.seen == 1200
    second = reference_for(pictures(0), extractor, tmp_path / "cache")
    assert extractor.seen < 1250  # the probe only
    assert same(first, second)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npz"]


def changed_pixel(images: Images) -> Images:
    copy = images.images.clone()
    copy[700, 0, 3, 3] ^= 1
    return images._replace(images=copy)


@pytest.mark.parametrize(
    "change",
    [
        changed_pixel,
        lambda images: images._replace(labels=images.labels.roll(1)),
        lambda images: images._replace(sha256="another file"),
        lambda images: Images(images.images[:-1], images.labels[:-1], images.sha256),
    ],
    ids=["one pixel", "labels", "file", "one image fewer"],
)
def test_other_data_is_another_reference(tmp_path: Path, change: Any) -> None:
    old = reference_for(pictures(0), TinyExtractor(), tmp_path)
    new = reference_for(change(pictures(0)), TinyExtractor(), tmp_path)
    assert new.key != old.key
    assert same(new, reference_for(change(pictures(0)), TinyExtractor(), tmp_path / "fresh"))


def test_another_weight_resize_or_rounding_is_another_reference(tmp_path: Path) -> None:
    resized, nudged = TinyExtractor(), TinyExtractor()
    resized.resize = "bilinear 8"
    with torch.no_grad():
        nudged.network.get_parameter("weight")[5, 5] += 1e-3
    keys = {reference_for(pictures(0), one, tmp_path).key for one in (TinyExtractor(), resized, nudged)}
    keys.add(reference_for(pictures(0), TinyExtractor(), tmp_path, uint8_rule="truncated").key)
    assert len(keys) == 4


def test_an_extractor_whose_code_changed_is_found_out_by_the_probe(tmp_path: Path) -> None:
    old = reference_for(pictures(0), TinyExtractor(), tmp_path)
    changed = TinyExtractor()
    changed.gain = 1.01  # same weights, other arithmetic
    new = reference_for(pictures(0), changed, tmp_path)
    assert changed.seen > 1200
    assert not np.allclose(arrays(new)[0], arrays(old)[0])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "another reference"])
def test_a_damaged_cache_file_is_replaced(tmp_path: Path, damage: str) -> None:
    good = reference_for(pictures(0), TinyExtractor(), tmp_path)
    (path,) = tmp_path.glob("*.npz")
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[2000] ^= 1
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        reference_for(pictures(1), TinyExtractor(), tmp_path / "other")
        path.write_bytes(next((tmp_path / "other").glob("*.npz")).read_bytes())
    extractor = TinyExtractor()
    assert same(reference_for(pictures(0), extractor, tmp_path), good)
    assert extractor.seen >= 1200
    assert "about" in files.read_arrays(path)


def test_a_cache_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArbenchError, match="cannot write .*file/cache"):
        reference_for(pictures(0, 50), TinyExtractor(), tmp_path / "file" / "cache")


def test_images_that_are_no_uint8_are_refused(tmp_path: Path) -> None:
    images = pictures(0, 50)
    with pytest.raises(ArbenchError, match=r"valid: uint8 \[N, C, H, W\]"):
        reference_for(images._replace(images=images.images.float()), TinyExtractor(), tmp_path)
    with pytest.raises(ArbenchError, match=r"labels of shape \(49,\) for 50 images"):
        reference_for(images._replace(labels=images.labels[:-1]), TinyExtractor(), tmp_path)


def test_the_references_own_scores_are_told(tmp_path: Path) -> None:
    images, extractor = pictures(0), TinyExtractor()
    logits = extractor.features(images.images)["logits"]
    reference = reference_for(images, extractor, tmp_path)
    assert reference.is_ == pytest.approx(inception_score(logits), rel=1e-6)
    assert reference.label_accuracy == pytest.approx(float((logits.argmax(1) == images.labels).float().mean()))


def measured(sample: Images, reference: Reference, extractor: TinyExtractor, **options: Any) -> dict[str, Any]:
    return quality.measure(seen_by(extractor, sample), sample.labels.numpy(), reference, **options).figures


def seen_by(extractor: TinyExtractor, sample: Images) -> dict[str, Any]:
    return {name: values.numpy() for name, values in extractor.features(sample.images).items()}


def test_the_quality_part_is_plain_and_complete(tmp_path: Path) -> None:
    extractor, second = TinyExtractor(), TinyExtractor(1, "second")
    reference, other = (reference_for(pictures(0), one, tmp_path) for one in (extractor, second))
    sample = pictures(1)
    beside = [(seen_by(second, sample), other)]
    found = measured(sample, reference, extractor, others=beside)
    assert set(found["fid"]) == {"tiny", "second"}
    assert found["fid"]["second"] == measured(sample, other, second)["fid"]["second"]
    darker = measured(sample._replace(images=sample.images // 2), reference, extractor)
    assert 0 <= found["fid"]["tiny"] < 0.1 * darker["fid"]["tiny"]  # same distribution against another
    assert found["kid"] < 0.1 * darker["kid"]
    low, high = found["intervals"]["kid"]
    assert low < 0 < high
    for name in ("is", "precision", "recall", "density", "coverage", "label_accuracy"):
        low, high = found["intervals"][name]
        assert low <= found[name] <= high
    assert set(found["intervals"]["fid"]) == set(found["intervals"]["fid_infinity"]) == {"tiny", "second"}
    assert found["fid_infinity"]["tiny"] < found["fid"]["tiny"]
    assert 0.8 < found["precision"] <= 1
    assert 0.8 < found["recall"] <= 1
    assert found["label_accuracy"] == pytest.approx(0.25, abs=0.06)
    assert found["extractor"] == "tiny"
    assert found["reference"]["data"] == "file-hash-0"
    assert found["reference"]["key"] == reference.key
    assert found["flags"] == []
    files.write_json(tmp_path / "quality.json", found)
    assert files.read_json(tmp_path / "quality.json") == found


def test_the_reference_measured_against_itself_is_perfect(tmp_path: Path) -> None:
    extractor = TinyExtractor()
    reference = reference_for(pictures(0), extractor, tmp_path)
    found = measured(pictures(0), reference, extractor)
    assert found["fid"]["tiny"] == pytest.approx(0, abs=1e-8)
    assert (found["precision"], found["recall"]) == (1.0, 1.0)
    assert found["is"] == pytest.approx(reference.is_)
    assert found["label_accuracy"] == reference.label_accuracy


def test_too_few_images_are_flagged_and_far_too_few_refused(tmp_path: Path) -> None:
    extractor = TinyExtractor()
    reference = reference_for(pictures(0), extractor, tmp_path)
    flags = measured(pictures(1, 8), reference, extractor)["flags"]
    assert any(flag.startswith("FID (tiny): samples: 8 images for 8 dimensions") for flag in flags)
    with pytest.raises(ArbenchError, match="6 images or more, there are 5"):
        measured(pictures(1, 5), reference, extractor)


def test_an_extractor_that_moves_to_another_module_leaves_its_reference_as_it_is(tmp_path: Path) -> None:
    class Moved(TinyExtractor):
        """Elsewhere, and of another name."""

    class Other(TinyExtractor):
        architecture = "another projection"

    before = reference_for(pictures(0, 60), TinyExtractor(), tmp_path)
    assert reference_for(pictures(0, 60), Moved(), tmp_path).key == before.key
    assert reference_for(pictures(0, 60), Other(), tmp_path).key != before.key


def test_replicates_are_kept_for_every_figure_that_has_an_interval(tmp_path: Path) -> None:
    extractor = TinyExtractor()
    reference = reference_for(pictures(0), extractor, tmp_path)
    found = quality.measure(seen_by(extractor, pictures(1)), pictures(1).labels.numpy(), reference)
    assert set(found.replicates) == {"fid.tiny", *found.figures["intervals"]} - {"fid", "fid_infinity"}
    assert all(values.shape == (1000,) for values in found.replicates.values())


def test_features_that_have_places_give_sfid(tmp_path: Path) -> None:
    class Spatial(TinyExtractor):
        def features(self, images: Tensor) -> dict[str, Tensor]:
            return {**super().features(images), "spatial": images.flatten(1)[:, :5].float()}

    reference = reference_for(pictures(0), Spatial(), tmp_path)
    assert reference_for(pictures(0), Spatial(), tmp_path).spatial is not None  # from the cache
    sample = pictures(1)
    found = measured(sample, reference, Spatial())
    gaussians = [Moments.of(one.images.flatten(1)[:, :5].double()).gaussian() for one in (sample, pictures(0))]
    assert found["sfid"]["tiny"] == pytest.approx(frechet(*gaussians), rel=1e-9)
    low, high = found["intervals"]["sfid"]["tiny"]
    assert low < found["sfid"]["tiny"] < high


def test_an_extractor_with_classes_of_its_own_gives_no_label_accuracy(tmp_path: Path) -> None:
    extractor = TinyExtractor()
    extractor.classifies = False
    reference = reference_for(pictures(0), extractor, tmp_path)
    assert reference.label_accuracy is None
    assert measured(pictures(1), reference, extractor)["label_accuracy"] is None


def test_features_and_labels_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    extractor = TinyExtractor()
    reference = reference_for(pictures(0, 60), extractor, tmp_path)
    seen = seen_by(extractor, pictures(1, 60))
    labels = np.arange(60) % 4
    with pytest.raises(ArbenchError, match="59 labels: not one set"):
        quality.measure(seen, labels[1:], reference)
    with pytest.raises(ArbenchError, match="7 dimensions, the reference 8: not the same extractor"):
        quality.measure({**seen, "features": seen["features"][:, :7]}, labels, reference)
    seen["features"][3, 2] = np.nan
    with pytest.raises(ArbenchError, match="1 of 60 rows hold values that are not finite"):
        quality.measure(seen, labels, reference)
