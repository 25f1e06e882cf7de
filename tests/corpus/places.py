"""What stands in the place of what is slow or not here: Inception, the fake method, Slurm; and the valid files."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.checkpoints.tensors import fit_state, read_tensors, read_weights
from harness.cli import command as cli
from harness.cluster.slurm import commands
from harness.extractors import inception
from harness.extractors.inception import InceptionExtractor
from harness.hashing import weights_sha256
from harness.method import Provenance
from harness.records import submissions
from harness.records.store import Record, Store
from harness.run import driver, verification
from harness.stages.quality import reference_files
from tests.corpus import arrays, images, networks
from tests.corpus.cases import Valid
from tests.helpers import sweeping

FEATURES, SPATIAL = 16, 8
SLURM = {
    "sbatch": "--partition --cpus-per-task --mem --time --no-kill --nodes --comment --account",
    "sinfo": "main",
    "scontrol": "MaxArraySize = 1001",
}


class Sees(nn.Module):
    """In the place of Inception: a projection of eight by eight pixels."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(192, FEATURES + SPATIAL + 8, generator=generator) / 14)

    def forward(self, given: Tensor) -> dict[str, Tensor]:
        """Features [B, 16], spatial features [B, 8], logits [B, 8] of uint8 [B, 1 or 3, H, W]."""
        small = nn.functional.interpolate(given.expand(-1, 3, -1, -1).float() / 255, (8, 8))
        found = small.flatten(1) @ self.weight
        names = ("features", "spatial", "logits")
        return dict(zip(names, found.split((FEATURES, SPATIAL, 8), dim=1), strict=True))


class Reads(sweeping.SweepMethod):
    """The fake method with the weights that lie beside its sweep, of whatever kind."""

    @classmethod
    def weight_files(cls, preset: str) -> tuple[Path, ...]:
        return tuple(sorted(Path(os.environ["ARBENCH_CORPUS"]).glob("weights.*"))) or super().weight_files(preset)

    @classmethod
    def load(cls, preset: str, checkpoint: Path | None = None) -> "Reads":
        method = cls.build(preset)
        assert isinstance(method, Reads)
        (path,) = cls.weight_files(preset)
        if path.suffix == ".pth":
            fit_state(method, read_tensors(path), path)
        else:
            read_weights(path, method)
        method.provenance = Provenance(weights_sha256([path]))
        return method


@contextmanager
def in_place(folder: Path) -> Iterator[Valid]:
    """All of it in place, and valid files in ``folder``, inside the ``with``."""
    with sweeping.in_place() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("ARBENCH_CORPUS", str(folder / "case"))
        patch.setattr(sweeping, "SweepMethod", Reads)
        (folder / "case").mkdir(parents=True)
        patch.setenv(sweeping.WEIGHTS, str(sweeping.make_weights(folder / "fake.safetensors")))
        (folder / "inception.pth").write_bytes(b"a stand-in")
        extractor = InceptionExtractor("inception", Sees(), folder / "inception.pth")
        patch.setattr(inception, "load_inception", lambda *given: extractor)
        for name, width in (("FEATURES", FEATURES), ("SPATIAL", SPATIAL)):
            patch.setattr(reference_files, name, width)
            patch.setattr(inception, name, width)
        _offer_commands(patch)
        valid = _valid(folder)
        _shorten(patch, Store(folder / "store").records())
        yield valid


def _offer_commands(patch: pytest.MonkeyPatch) -> None:
    """``report``, too; and Slurm's commands answer."""
    from importlib.metadata import EntryPoint

    point = EntryPoint("report", "reports.commands:add", cli.GROUP)
    patch.setattr(cli, "entry_points", lambda group: (point,))
    patch.setattr(commands, "call", lambda *command, **_: SLURM.get(command[0], ""))


def _shorten(patch: pytest.MonkeyPatch, records: Sequence[Record]) -> None:
    """Runs end where they would begin to compute: what they read has been read by then."""
    for name in ("_measure", "_time"):
        patch.setattr(driver.Run, name, lambda self: None)
    patch.setattr(driver.Run, "_record", lambda self, measured: None)
    patch.setattr(verification, "run", lambda sweep, store, *_: [store.write(record) for record in records])


def _valid(folder: Path) -> Valid:
    """Run a sweep of one trial, and write a valid file of each kind."""
    (folder / "small.toml").write_text(sweeping.SWEEP.replace("[1, 2, 4]", "[1]"))
    store = folder / "store"
    assert cli.main(["run", str(folder / "small.toml"), "--store", str(store), "--workers", "0"]) == 0
    assert submissions.submit(Store(store), folder / "rows.arbench", "A. Stranger") == 1
    shots = arrays.pictures(1)
    statistics = {"mu": np.zeros(FEATURES), "sigma": np.eye(FEATURES)}
    spatial = {"mu_s": np.zeros(SPATIAL), "sigma_s": np.eye(SPATIAL)}
    contents: dict[str, bytes] = {
        "npz": arrays.npz({"arr_0": shots}),
        "packed npz": arrays.npz({"arr_0": shots}, compressed=True),
        "npy": arrays.npy(shots),
        "statistics": arrays.npz({"arr_0": arrays.pictures(2), **statistics, **spatial}),
        "tar": images.tar(images.shots()),
        "pack": (folder / "rows.arbench").read_bytes(),
        "record": next((store / "records").glob("*.json")).read_bytes(),
        **{kind: images.encoded(images.picture(), kind) for kind in images.SUFFIX},
        **networks.valid_networks(sweeping.SweepMethod().state_dict()),
    }
    (folder / "samples.npz").write_bytes(contents["npz"])
    (folder / "others.npz").write_bytes(arrays.npz({"arr_0": arrays.pictures(2)}))
    command = ["reference", "build", str(folder / "others.npz"), "--out", str(folder / "reference.npz")]
    assert cli.main(command) == 0
    contents["reference"] = (folder / "reference.npz").read_bytes()
    return Valid(folder, contents)


def kinds() -> dict[str, tuple[int, Any]]:
    """How many of 2,000 files are of each kind, and what makes one."""
    from tests.corpus.packs import pack_case
    from tests.corpus.texts import record_case, site_case, sweep_case

    return {
        "npz": (350, arrays.npz_case),
        "npy": (100, arrays.npy_case),
        "png": (200, images.picture_case("png")),
        "jpeg": (150, images.picture_case("jpeg")),
        "tiff": (150, images.picture_case("tiff")),
        "tar": (150, images.tar_case),
        "safetensors": (150, networks.safetensors_case),
        "pth": (150, networks.pth_case),
        "sweep": (200, sweep_case),
        "site": (100, site_case),
        "record": (200, record_case),
        "pack": (100, pack_case),
    }
