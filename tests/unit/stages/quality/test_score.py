"""Scoring images of others: torch-fidelity's figures on the same images and weights, in whatever order."""

import hashlib
import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_featuresdict_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_featuresdict_to_metric

from harness.cli.command import main
from harness.errors import ArbenchError
from harness.extractors.inception import InceptionExtractor, load_inception
from harness.images.reading import Samples
from harness.images.samples import open_samples
from harness.stages.figures import flat
from harness.stages.quality.pairs import Within
from harness.stages.quality.reference import Reference, read, write
from harness.stages.quality.reference_files import open_reference
from harness.stages.quality.score import in_words, score
from harness.stages.quality.seen import Seen, see, watched
from tests.helpers import inception

COUNT = 12

Both = tuple[Path, Seen, Reference, dict[str, Any]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inception.random_weights(tmp_path_factory.mktemp("inception"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def extractor(weights: Path) -> InceptionExtractor:
    return load_inception(weights, sha256(weights))


def pictures(seed: int, count: int = COUNT) -> NDArray[np.uint8]:
    """uint8 [count, 32, 32, 3], from flat to noisy."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (count, 32, 32, 3)) * np.linspace(0.1, 1, count)[:, None, None, None]
    return (noise * 0.7 + rng.integers(0, 70, (count, 1, 1, 3))).astype(np.uint8)


def npz(path: Path, images: NDArray[np.uint8], **more: Any) -> Path:
    np.savez(path, arr_0=images, **more)
    return path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, extractor: InceptionExtractor) -> Both:
    """A folder with samples.npz and reference.npz, what Inception sees in them, and the score."""
    folder = tmp_path_factory.mktemp("score")
    ours, theirs = npz(folder / "samples.npz", pictures(1)), npz(folder / "reference.npz", pictures(2))
    seen = watched(ours, extractor, 10), open_reference(theirs, extractor, 7)
    return folder, *seen, score(*seen)


def test_fid_and_is_are_torch_fidelitys(both: Both, weights: Path) -> None:
    network = FeatureExtractorInceptionV3("t", ["2048", "logits_unbiased"], feature_extractor_weights_path=weights)
    seen = []
    for seed in (1, 2):
        features, logits = network(torch.from_numpy(pictures(seed)).permute(0, 3, 1, 2))
        seen.append({"2048": features, "logits_unbiased": logits})
    statistics = [fid_featuresdict_to_statistics(one, "2048") for one in seen]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    isc = isc_featuresdict_to_metric(seen[0], "logits_unbiased", isc_splits=1, samples_shuffle=False, rng_seed=0)
    found = both[3]
    assert (
        found["fid"]["inception"] > 0.1
        and found["sfid"]["inception"] > 0.1
        and found["is"] > 1.05
        and found["kid"] != 0
    )
    assert found["fid"]["inception"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert found["is"] == pytest.approx(isc["inception_score_mean"], rel=1e-4)


def test_spatial_features_are_the_first_channels_by_row_and_column(extractor: InceptionExtractor) -> None:
    seen: list[torch.Tensor] = []
    layer = extractor.network.network.Mixed_6d.branch1x1  # type: ignore[union-attr]
    hook = layer.register_forward_hook(lambda module, inputs, out: seen.append(out))  # type: ignore[union-attr]
    images = torch.from_numpy(pictures(3, 4)).permute(0, 3, 1, 2)
    extractor.features(images)
    hook.remove()
    assert seen[0].shape == (4, 192, 17, 17)
    flat = torch.stack([seen[0][:, c, r, col] for r in range(17) for col in range(17) for c in range(7)], 1)
    folder_like = see(_InMemory(images), extractor, 4, lambda count: None)
    np.testing.assert_allclose(folder_like.spatial.mean, flat.double().mean(0).numpy(), rtol=1e-5, atol=1e-7)
    assert folder_like.spatial.mean.shape == (2023,)


class _InMemory(Samples):
    """A set of images for ``see``."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__(Path("memory"))
        self.count, self._images = len(images), images.contiguous()

    def batches(self, size: int) -> Any:
        return iter(self._images.split(size))


def figures(found: dict[str, Any]) -> dict[str, Any]:
    values = flat(found)
    named = ("fid.inception", "sfid.inception", "is", "kid", "precision", "recall", "density", "coverage")
    return {name: values[name] for name in named}


def test_no_figure_depends_on_the_order_of_the_images(
    both: Both, extractor: InceptionExtractor, tmp_path: Path
) -> None:
    shuffled = npz(tmp_path / "shuffled.npz", np.random.default_rng(0).permutation(pictures(1)))
    _, _, theirs, expected = both
    found = score(watched(shuffled, extractor, 9), theirs)
    assert figures(found) == pytest.approx(figures(expected), rel=1e-4, abs=1e-6)


def test_a_folder_of_png_is_scored_like_the_array(both: Both, extractor: InceptionExtractor, tmp_path: Path) -> None:
    for place, image in enumerate(pictures(1)):
        (tmp_path / str(place % 3)).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / str(place % 3) / f"{place:03d} é.png")
    seen = watched(tmp_path, extractor, 10)
    ours, theirs = seen.arrays["features"], both[1].arrays["features"]
    in_order = [np.flatnonzero(np.isclose(ours, row, rtol=1e-3, atol=1e-4).all(1)) for row in theirs]
    assert sorted(int(rows[0]) for rows in in_order) == list(range(COUNT))
    assert seen.is_ == pytest.approx(both[1].is_, rel=1e-6)


def test_stored_statistics_are_taken_as_they_are(both: Both, extractor: InceptionExtractor, tmp_path: Path) -> None:
    _, ours, theirs, expected = both
    assert theirs.spatial is not None
    statistics = {
        "mu": theirs.gaussian.mean + 1,
        "sigma": theirs.gaussian.covariance,
        "mu_s": theirs.spatial.mean,
        "sigma_s": theirs.spatial.covariance,
    }
    with_images = score(ours, open_reference(npz(tmp_path / "adm.npz", pictures(2), **statistics), extractor, 10))
    assert with_images["fid"]["inception"] > expected["fid"]["inception"] + 1000  # 2048 dimensions, each one apart
    assert with_images["kid"] == expected["kid"] and with_images["recall"] == expected["recall"]
    assert with_images["sfid"]["inception"] == pytest.approx(expected["sfid"]["inception"], rel=1e-6)
    np.savez(tmp_path / "alone.npz", **statistics)  # type: ignore[arg-type]
    alone = score(ours, open_reference(tmp_path / "alone.npz", extractor, 10))
    assert alone["fid"] == with_images["fid"] and "kid" not in alone
    assert "statistics alone" in in_words(alone)


def test_a_kept_reference_is_what_it_was_and_only_for_its_extractor(
    both: Both, extractor: InceptionExtractor, tmp_path: Path
) -> None:
    made = both[2]
    write(tmp_path / "kept.npz", made)
    kept = open_reference(tmp_path / "kept.npz", extractor, 10)
    for ours, theirs in ((kept.gaussian, made.gaussian), (kept.spatial, made.spatial)):
        assert ours is not None and theirs is not None
        np.testing.assert_array_equal(ours.mean, theirs.mean)
        np.testing.assert_allclose(ours.covariance, theirs.covariance, rtol=1e-12, atol=1e-15)
    for one, other in zip(compared(kept), compared(made), strict=True):
        np.testing.assert_array_equal(one, other)
    assert kept.about() == {**made.about(), "path": str(tmp_path / "kept.npz")}
    state = {name: value.clone() for name, value in extractor.network.network.state_dict().items()}  # type: ignore[union-attr]
    torch.save(state | {"fc.bias": state["fc.bias"] + 1}, tmp_path / "other.pth")
    strange = load_inception(tmp_path / "other.pth", sha256(tmp_path / "other.pth"))
    with pytest.raises(ArbenchError, match="made with other Inception weights"):
        open_reference(tmp_path / "kept.npz", strange, 10)


def compared(reference: Reference) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    assert isinstance(reference.within, Within)
    return reference.within.features, reference.within.radii, reference.within.kernel


def test_files_of_earlier_versions_are_read(both: Both, extractor: InceptionExtractor, tmp_path: Path) -> None:
    made = both[2]
    assert made.within is not None and made.spatial is not None
    within = {"features": made.within.features, "radii": made.within.radii, "kernel": made.within.kernel}
    about = {"path": "somewhere", "images": COUNT, "sha256": "c", "notes": [], "is": made.is_}
    built = {"mu": made.gaussian.mean, "sigma": made.gaussian.covariance, **within}
    spatial = {"mu_s": made.spatial.mean, "sigma_s": made.spatial.covariance}
    told = json.dumps({**about, "weights": made.facts["weights"], "cached": "k" * 64})
    np.savez(tmp_path / "built.npz", about=np.array(told), **built, **spatial)  # type: ignore[arg-type]
    kept = open_reference(tmp_path / "built.npz", extractor, 10)
    assert kept.key == "k" * 64
    facts = {"version": 2, "images": COUNT, "extractor": "inception", "weights": "w"}
    told = json.dumps({"key": "s" * 64, "facts": facts, "is": made.is_, "label_accuracy": 0.5})
    old = {"mean": built["mu"], "covariance": built["sigma"], "spatial mean": made.spatial.mean}
    arrays = {**old, "spatial covariance": made.spatial.covariance, **within}
    np.savez(tmp_path / "store.npz", about=np.array(told), logits=np.ones((COUNT, 3), np.float32), **arrays)  # type: ignore[arg-type]
    stored = read(tmp_path / "store.npz")
    assert stored.about() == {"key": "s" * 64, **facts, "tf32": "off", "is": made.is_, "label_accuracy": 0.5}
    assert stored.logits is not None and stored.logits.shape == (COUNT, 3)
    for found in (kept, stored):
        np.testing.assert_array_equal(found.gaussian.mean, made.gaussian.mean)
        np.testing.assert_array_equal(compared(found)[1], made.within.radii)
        assert score(both[1], found)["fid"] == pytest.approx(both[3]["fid"], rel=1e-9)


def test_the_command_scores_and_keeps_references(
    both: Both, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _, expected = both
    given = ["--inception", str(weights), "--inception-sha256", sha256(weights)]
    kept = str(tmp_path / "kept.npz")
    assert main(["reference", "build", str(folder / "reference.npz"), "--out", kept, *given]) == 0
    capsys.readouterr()
    assert main(["score", str(folder / "samples.npz"), "--reference", kept, *given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert figures(found) == pytest.approx(figures(expected), rel=1e-6, abs=1e-9)
    assert any("singular" in flag for flag in found["flags"])
    assert main(["score", str(folder / "samples.npz"), "--reference", kept, "--inception", str(weights)]) == 2
    assert "sha256" in capsys.readouterr().err


def test_arrays_are_streamed(tmp_path: Path) -> None:
    path = npz(tmp_path / "many.npz", np.zeros((2000, 64, 64, 3), np.uint8))
    tracemalloc.start()
    assert sum(len(batch) for batch in open_samples(path).batches(50)) == 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 50 * 64 * 64 * 3


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), "arr_0 is float32"),
        (np.zeros((4, 3, 8, 8), np.uint8), r"arr_0 is uint8 \(4, 3, 8, 8\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "arr_0 is uint8"),
        (np.array([{}], object), "arr_0 is object"),
    ],
)
def test_arrays_of_another_kind_are_told(content: NDArray[Any], fault: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", arr_0=content)
    with pytest.raises(ArbenchError, match=fault):
        open_samples(tmp_path / "x.npz")


def test_damaged_and_missing_samples_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ArbenchError, match="there is no such file"):
        open_samples(tmp_path / "nowhere")
    with pytest.raises(ArbenchError, match="holds no images"):
        open_samples(tmp_path)
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(ArbenchError, match="cannot read .*text.npz"):
        open_samples(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(ArbenchError, match="holds no array arr_0"):
        open_samples(tmp_path / "other.npz")
    header = npz(tmp_path / "whole.npz", np.zeros((4, 8, 8, 3), np.uint8))
    with zipfile.ZipFile(header) as whole, zipfile.ZipFile(tmp_path / "short.npz", "w") as short:
        short.writestr("arr_0.npy", whole.read("arr_0.npy")[:-8])
    with pytest.raises(ArbenchError, match=r"short.npz is cut short"):
        list(open_samples(tmp_path / "short.npz").batches(3))
    for name, size in (("a.png", 8), ("b.png", 9)):
        Image.new("RGB", (size, size)).save(tmp_path / name)
    with pytest.raises(ArbenchError, match=r"b.png is \(9, 9\), .*a.png is \(8, 8\): not one size"):
        list(open_samples(tmp_path).batches(2))
