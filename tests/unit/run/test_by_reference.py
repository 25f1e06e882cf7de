"""Runs on data that do not ship with us: their reference by path, Inception weights by path, the paper's own setup."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import cli
from harness.extractors import by_name
from harness.extractors import inception as inception_extractor
from harness.images import datasets
from harness.inputs import labels
from harness.jobs import bench
from harness.noise import uniforms
from harness.records.store import Store
from harness.setup import Setup, to_uint8
from harness.stages.quality import reference_files, score
from harness.stages.quality import seen as looked
from harness.stages.quality.fidelity import STATISTICS_ALONE
from tests.helpers import inception, sweeping
from tests.helpers.fakes import CLASSES

REAL_LOAD = by_name.load
IMAGES, PICTURES = 6, 8
SWEEP = f"""
preset = "tiny"
images = {IMAGES}
[timing]
warmup = 1
min_rounds = 1
max_rounds = 1
throughput_batch = 1
[method.fake]
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inception.random_weights(tmp_path_factory.mktemp("inception"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def small(tmp_path: Path, weights: Path) -> Iterator[Path]:
    """A folder with a sweep on data called imagenet256, and eight pictures for a reference."""
    with sweeping.in_place() as patch:
        patch.setenv(sweeping.WEIGHTS, str(sweeping.make_weights(tmp_path / "fake.safetensors")))
        patch.setattr(by_name, "load", REAL_LOAD)
        patch.setattr(bench, "reference_images", datasets.reference_images)
        patch.setattr(inception_extractor, "KNOWN_SHA256", sha256(weights))
        preset = sweeping.SweepMethod.presets["tiny"]
        own = Setup(labels="random", uint8="truncate", compute_batch=IMAGES)
        patch.setattr(sweeping.SweepMethod, "presets", {"tiny": replace(preset, data="imagenet256", setup=own)})
        (tmp_path / "sweep.toml").write_text(SWEEP)
        pictures = np.random.default_rng(0).integers(0, 256, (PICTURES, 16, 16, 3), dtype=np.uint8)
        np.savez(tmp_path / "pictures.npz", arr_0=pictures)
        yield tmp_path


def run(folder: Path, *more: str) -> int:
    return cli.main(["run", str(folder / "sweep.toml"), "--store", str(folder / "store"), "--workers", "0", *more])


def record(folder: Path) -> dict[str, Any]:
    (found,) = Store(folder / "store").records()
    return found


def samples(folder: Path) -> Path:
    """The images of the sweep's one trial as an .npz, made without the harness's stages."""
    method = sweeping.SweepMethod.load("tiny")
    asked = labels("random", 0, range(IMAGES), CLASSES)
    knobs, sampling = method.resolve({}), sweeping.SweepMethod.presets["tiny"].sampling
    with torch.inference_mode():
        made = method.sample(asked, uniforms(0, range(IMAGES), method.positions), knobs, sampling)
        images = to_uint8(method.decode(made.tokens), "truncate")
    np.savez(folder / "samples.npz", arr_0=images.permute(0, 2, 3, 1).numpy())
    return folder / "samples.npz"


def test_a_run_scores_as_arbench_score_does_and_names_what_it_used(
    small: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = small / "built.npz"
    given = ["--inception", str(weights)]
    assert cli.main(["reference", "build", str(small / "pictures.npz"), "--out", str(built), *given]) == 0
    assert run(small, *given, "--reference", str(built)) == 0
    found = record(small)
    assert found["trial"]["setup"] == {
        "precision": "fp32",
        "labels": "random",
        "uint8": "truncate",
        "weights": "trained",
        "tf32": "off",
        "compute_batch": IMAGES,
    }
    assert found["provenance"]["extractors"] == {"inception": sha256(weights)}
    assert found["provenance"]["data"] == sha256(built)
    assert found["quality"]["reference"]["images"] == PICTURES
    extractor = inception_extractor.load_inception(weights)
    seen = looked.watched(samples(small), extractor, 6)
    same = score.score(seen, reference_files.open_reference(built, extractor, 6))
    assert found["quality"]["fid"]["inception"] == pytest.approx(same["fid"]["inception"], rel=1e-6)
    for name in ("is", "kid", "precision", "recall", "density", "coverage"):
        assert found["quality"][name] == pytest.approx(same[name], rel=1e-5), name
    monkeypatch.setattr(
        "harness.stages.quality.reference_files.open_reference",
        lambda *_: pytest.fail("the reference was computed again"),
    )
    (small / "sweep.toml").write_text(SWEEP + "seed = 1\n")
    assert run(small, *given, "--reference", str(built)) == 0
    assert len(Store(small / "store").records()) == 2


def test_statistics_alone_give_fid_and_say_what_is_lacking(small: Path, weights: Path) -> None:
    rng = np.random.default_rng(1)
    np.savez(small / "adm.npz", mu=rng.normal(size=2048), sigma=np.eye(2048))
    assert run(small, "--inception", str(weights), "--reference", str(small / "adm.npz")) == 0
    quality = record(small)["quality"]
    assert quality["fid"]["inception"] > 0
    assert not {"kid", "precision", "recall"} & quality.keys()
    assert STATISTICS_ALONE in quality["flags"]


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (64, "adm.npz: mu: the samples have 2048 dimensions, the reference 64: not the same extractor?"),
        (0, "cannot read"),
    ],
)
def test_a_reference_that_is_missing_or_of_another_size_is_told_before_anything_runs(
    small: Path, weights: Path, capsys: pytest.CaptureFixture[str], width: int, said: str
) -> None:
    if width:
        np.savez(small / "adm.npz", mu=np.zeros(width), sigma=np.eye(width))
    given = ["--inception", str(weights), "--reference", str(small / "adm.npz")]
    assert run(small, *given) == 2
    assert cli.main(["score", str(small / "pictures.npz"), *given]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(said in line for line in lines)
    assert not (small / "store" / "work").exists()


def test_data_that_do_not_ship_ask_for_their_reference(
    small: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small, "--inception", str(weights)) == 2
    assert "data imagenet256 do not ship with arbench: --reference FILE" in capsys.readouterr().err


def test_an_unknown_device_is_told_before_anything_runs(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(small, "--device", "gpu") == 2
    assert "unknown device 'gpu' (valid: cpu, cuda" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert run(small, "--device", "cuda:0") == 2
        assert "device 'cuda:0' is not to be had" in capsys.readouterr().err
