"""A record is verified by running its trial again; another weight, figure or extractor is told."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import cli
from harness.checkpoints.tensors import write_weights
from harness.records.store import Store
from harness.run import verification
from tests.helpers import sweeping


@pytest.fixture
def records(tmp_path: Path) -> Iterator[list[Path]]:
    """The records of the small sweep."""
    with sweeping.in_folder(tmp_path):
        assert cli.main(["run", str(tmp_path / "small.toml"), "--store", str(tmp_path / "s"), "--workers", "0"]) == 0
        yield sorted((tmp_path / "s" / "records").glob("*.json"))


def verify(*paths: Path) -> int:
    return cli.main(["verify", *map(str, paths), "--workers", "0"])


def edited(path: Path, change: Any) -> Path:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return path


def test_records_are_reproduced_on_the_machine_that_made_them(
    records: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert verify(*records) == 0
    assert capsys.readouterr().out.count("reproduced: fake[") == 3


def test_one_changed_weight_is_told(records: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    method = sweeping.SweepMethod.load("tiny")
    with torch.no_grad():
        next(method.parameters()).flatten()[0] += 1e-3
    write_weights(tmp_path / "fake.safetensors", method.state_dict(), {})
    assert verify(records[0]) == 1
    assert "not reproduced: fake[" in (said := capsys.readouterr().out)
    assert "weights: fake.safetensors is " in said


def test_a_figure_outside_its_interval_is_told(records: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    def better(record: dict[str, Any]) -> None:
        record["quality"]["is"] += 0.5
        record["quality"]["intervals"]["is"] = [end + 0.5 for end in record["quality"]["intervals"]["is"]]
        record["flops"]["macs"] *= 0.9

    assert verify(edited(records[0], better)) == 1
    said = capsys.readouterr().out
    assert "  is is " in said and "outside" in said
    assert "flops: macs is " in said


def test_what_is_no_finished_record_is_one_clear_line(
    records: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(tmp_path / "nothing.json") == 2
    assert f"cannot read {tmp_path / 'nothing.json'}: there is no such file" in capsys.readouterr().err
    assert verify(edited(records[0], lambda record: record.update(status="failed"))) == 2
    assert "is no record of a finished trial" in capsys.readouterr().err
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n")
    assert verify(tmp_path / "picture.png") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot read {tmp_path / 'picture.png'}: it is damaged, or no JSON in UTF-8" in line
    assert Store(tmp_path / "s").records()[0]["status"] == "failed"


def test_the_environment_is_printed_for_a_bug_report(records: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["env"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["torch"]
    assert found["machine"]["cores"] >= 1
    assert found["methods"] == ["fake"]


def test_a_figure_whose_interval_has_no_width_is_reproduced_but_for_rounding() -> None:
    before = {"recall": 0.05, "intervals": {"recall": [0.05, 0.05]}}
    assert verification._scores(before, {"recall": 0.05 + 7e-18}) == []
    assert verification._scores(before, {"recall": np.nextafter(0.05, 1)}) == []
    assert len(verification._scores(before, {"recall": 0.0501})) == 1
