"""Odd environments: names that are no UTF-8, a user without a home."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cli
from harness.checkpoints import published
from harness.errors import ArbenchError
from harness.identity import provenance
from harness.records.store import Store
from tests.helpers import sweeping

ODD = os.fsdecode(b"caf\xe9")
"""A name as it comes from a file system in Latin-1."""


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that has neither HOME nor an entry in /etc/passwd."""
    for name in ("HOME", "XDG_CACHE_HOME", "ARBENCH_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)

    def nobody(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", nobody)


@pytest.mark.usefixtures("homeless")
def test_weights_of_a_user_without_a_home_are_those_of_the_named_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["weights"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("arbench: where weights are kept cannot be told: no home folder, no ARBENCH_WEIGHTS")
    monkeypatch.setenv("ARBENCH_WEIGHTS", str(tmp_path))
    assert cli.main(["weights"]) == 0
    assert published.place("some.safetensors").parent == tmp_path


@pytest.mark.usefixtures("homeless")
def test_a_home_that_is_none_in_arbench_weights_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBENCH_WEIGHTS", "~/weights")
    with pytest.raises(ArbenchError, match="ARBENCH_WEIGHTS=~/weights names no folder"):
        published.folders()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store under an odd name, of a run whose command line has an odd byte."""
    folder = tmp_path_factory.mktemp("odd")
    with sweeping.in_place() as patch:
        patch.setenv(sweeping.WEIGHTS, str(sweeping.make_weights(folder / "fake.safetensors")))
        (folder / f"{ODD}.toml").write_text(sweeping.SWEEP.replace("[1, 2, 4]", "[1]"))
        command = ["run", str(folder / f"{ODD}.toml"), "--store", str(folder / ODD), "--workers", "0"]
        patch.setattr(sys, "argv", ["arbench", *command])
        assert cli.main(command) == 0
        yield folder / ODD


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_command_line_that_is_no_utf_8_is_recorded_as_text(measured: Path) -> None:
    (record,) = Store(measured).records()
    assert any("caf\\udce9" in word for word in record["provenance"]["command"])
    for path in files_of(measured):
        if path.suffix == ".json":
            assert json.loads(path.read_text(encoding="utf-8")) is not None
            assert "\\udce9" not in path.read_text().replace("\\\\udce9", "")


@pytest.mark.parametrize("earlier", [False, True])
def test_a_store_with_such_a_record_is_reported_exported_submitted_and_imported(
    measured: Path, tmp_path: Path, earlier: bool
) -> None:
    """earlier: as versions wrote it that did not escape."""
    (file,) = (measured / "records").glob("*.json")
    kept = file.read_text()
    if earlier:
        file.write_text(kept.replace("\\\\udce9", "\\udce9"))
        assert "\\udce9" in file.read_text() and "\\\\udce9" not in file.read_text()
    try:
        out = tmp_path / ODD
        out.mkdir()
        assert cli.main(["export", "--store", str(measured), "--out", str(out / "all.csv")]) == 0
        assert "udce9" in (out / "all.csv").read_text(encoding="utf-8")
        from reports.build import build

        build(measured, out / "site")
        assert (out / "site" / "index.html").read_text(encoding="utf-8")
        pack = str(out / "rows.arbench")
        assert cli.main(["submit", "--store", str(measured), "--out", pack, "--by", "A. Stranger"]) == 0
        assert cli.main(["import", pack, "--store", str(out / "theirs")]) == 0
        assert len(Store(out / "theirs").records()) == 1
    finally:
        file.write_text(kept)


def test_what_is_told_of_a_command_line_is_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["arbench", ODD])
    provenance.gather.cache_clear()
    with sweeping.in_place():
        assert provenance.gather()["command"] == ["arbench", "caf\\udce9"]
