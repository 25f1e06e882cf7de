"""A package of somebody else's adds a data set and an extractor as it adds a method: by an entry point."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import ArbenchError
from harness.images import datasets

DATA = '''
import torch
from harness.images.datasets import DataSet, Images


def stripes():
    """60 images of bars, whose number tells the class."""
    labels = torch.arange(60) % 10
    rows = torch.arange(28)[None, :, None] * (labels[:, None, None] + 1) // 7 % 2 * 255
    images = (rows + torch.arange(60)[:, None, None] % 7).clamp(max=255).expand(60, 28, 28)[:, None]
    return Images(images.to(torch.uint8).contiguous(), labels, "5" * 64)


STRIPES = DataSet("stripes", (1, 28, 28), "stripes-mean", tuple("0123456789"), stripes)
'''
LOOKS = """
from pathlib import Path
import torch
from torch import nn
from harness.extractors.base import Extractor


class Means(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        means = images.float().mean(dim=(1, 3))[:, ::2] * self.scale
        return {"features": means, "logits": means[:, :10] / 50}


class Looks(Extractor):
    architecture = "means of rows"


def load(weights):
    return Looks("stripes-mean", Means(), weights or Path(__file__))
"""
METHOD = """
from dataclasses import replace
from baselines.raster import Raster


class Striped(Raster):
    name = "striped"
    presets = {"stripes": replace(Raster.presets["fmnist"], name="stripes", data="stripes")}

    @classmethod
    def bundled_weights(cls, preset):
        return Raster.bundled_weights("fmnist")
"""
POINTS = """
[arbench.methods]
striped = stripy.method:Striped
[arbench.datasets]
stripes = stripy.data:STRIPES
[arbench.extractors]
stripes-mean = stripy.looks:load
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on Python's path in which that package is installed."""
    folder = tmp_path_factory.mktemp("installed")
    for name, text in {"__init__": "", "data": DATA, "looks": LOOKS, "method": METHOD}.items():
        (folder / "stripy").mkdir(exist_ok=True)
        (folder / "stripy" / f"{name}.py").write_text(text)
    about = folder / "stripy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stripy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    (folder / "sweep.toml").write_text(
        'preset = "stripes"\nimages = 40\n[timing]\nwarmup = 1\nmin_rounds = 1\nmax_rounds = 1\nthroughput_batch = 2\n'
        "[method.striped]\n"
    )
    return folder


def arbench(installed: Path, *arguments: str | Path, code: int = 0) -> str:
    path = os.pathsep.join(filter(None, (str(installed), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "arbench", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_strangers_data_set_and_extractor_are_measured_with_like_ours(installed: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    arbench(installed, "run", installed / "sweep.toml", "--store", store, "--workers", "0")
    (path,) = (store / "records").glob("*.json")
    record = json.loads(path.read_text())
    assert record["data"] == "stripes"
    assert record["quality"]["extractor"] == "stripes-mean"
    assert record["quality"]["fid"]["stripes-mean"] > 0
    assert record["provenance"]["data"] == "5" * 64
    arbench(installed, "report", "--store", store, "--out", tmp_path / "site")
    assert "stripes-mean" in (tmp_path / "site" / "data" / "leaderboard.js").read_text()


def test_a_name_that_no_data_set_or_extractor_has_is_told_with_the_valid_ones(installed: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.toml"
    sweep.write_text('extractor = "stripes-men"\n' + (installed / "sweep.toml").read_text())
    said = arbench(installed, "run", sweep, "--store", tmp_path / "store", code=2)
    assert "unknown extractor 'stripes-men'; did you mean 'stripes-mean'?" in said
    with pytest.raises(
        ArbenchError, match="unknown data set 'mnist'; did you mean 'fmnist'. .valid: fmnist, imagenet256"
    ):
        datasets.reference_images("mnist")


def test_data_that_do_not_ship_say_where_their_reference_is_from() -> None:
    with pytest.raises(ArbenchError, match="imagenet512 do not ship with arbench: --reference FILE.*imagenet512.npz"):
        datasets.reference_images("imagenet512")
    with pytest.raises(ArbenchError, match="data imagenet256 have no training images"):
        datasets.training_images("imagenet256")
    assert datasets.known("somebodys") is None
