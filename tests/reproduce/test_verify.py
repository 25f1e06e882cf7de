"""The records that come with arbench are reproduced here; with one weight changed they are not."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from baselines.raster import Raster
from harness import cli
from harness.checkpoints.tensors import read_about, write_weights
from harness.run import verification


@pytest.mark.slow
def test_the_bundled_records_are_reproduced(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "--workers", "2"]) == 0
    assert capsys.readouterr().out.count("\nreproduced: ") + 1 == len(list(verification.BUNDLED.glob("*.json"))) == 3


@pytest.mark.slow
def test_one_changed_weight_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundled = Raster.bundled_weights("fmnist")
    weights = load_file(bundled)
    first = next(iter(sorted(weights)))
    weights[first].view(-1)[0] += 1e-3
    monkeypatch.setattr(Raster, "weights_folder", tmp_path)
    write_weights(tmp_path / bundled.name, weights, read_about(bundled))
    assert cli.main(["verify", str(verification.BUNDLED / "raster.json"), "--workers", "0"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("not reproduced: raster[preset=fmnist")
    assert f"weights: {bundled.name} is " in said
