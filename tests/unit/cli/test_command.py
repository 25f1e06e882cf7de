"""The command: what it lists and exports, what other packages add, how progress is told."""

import io
import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import cli, progress, registry
from harness.cli import command
from harness.errors import ArbenchError
from harness.progress import Progress
from harness.records.store import Store
from tests.helpers import sweeping

RECORD = {"name": "fake[seed=0]", "key": "a" * 64, "status": "done", "trial": {"images": 10}, "quality": {"is": 1.5}}


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with sweeping.in_place():
        yield


def test_methods_are_listed_with_knobs_and_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    text = capsys.readouterr().out
    assert "fake: Fake (fakes; none); presets: tiny" in text
    assert "steps: sequential evaluations (valid: int from 1 to 4; default 4, an axis)" in text
    assert cli.main(["list", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["name"] == "fake"
    assert found["presets"]["tiny"]["sampling"]["cfg"] == 1.5
    assert [knob["name"] for knob in found["knobs"]] == ["steps", "shade", "warmth"]


def test_a_method_that_cannot_be_imported_is_listed_with_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: sweeping.Point) -> Any:
        raise ModuleNotFoundError("No module named 'gone'")

    monkeypatch.setattr(sweeping.Point, "load", broken)
    assert cli.main(["list"]) == 0
    assert "cannot be imported: No module named 'gone'" in capsys.readouterr().out


def test_where_another_package_is_taken_for_a_methods_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "novel.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("novel", "novel.method:Novel", registry.GROUP)
    monkeypatch.setattr(registry, "_points", lambda: {"novel": point})
    get = registry.get.__wrapped__
    with pytest.raises(ArbenchError, match=rf"'novel' \(novel.method:Novel\) .*\('novel' is {tmp_path}/novel.py\)"):
        get("novel")


def test_counters_are_set_side_by_side_and_a_difference_is_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["counters"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["MACs", "an", "image", "executed", "torch", "fvcore", "closed", "form", "apart"]
    name, *figures = said[1].split()
    assert name == "fake" and len(set(figures[:4])) == 1 and figures[4] == "0.000%"
    assert said[-1].startswith("not counted by any: ") and "aten.embedding" in said[-1]
    form = {"ffn": 1.0}
    monkeypatch.setattr(sweeping.SweepMethod, "closed_form", lambda self, knobs, sampling: form)
    assert cli.main(["counters", "fake"]) == 1


def test_records_are_exported_as_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store(tmp_path / "store").write(RECORD)
    assert cli.main(["export", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "all.csv")]) == 0
    table = pd.read_csv(tmp_path / "all.csv")
    assert table["quality.is"].tolist() == [1.5]
    assert "1 records written" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("out", "store", "said"),
    [
        ("all.xls", "store", "a file's name ends in .csv or .parquet"),
        ("all.csv", "elsewhere", "is no store: it has no folder 'records'"),
        ("no/such/all.csv", "store", "cannot write"),
    ],
)
def test_an_export_that_cannot_be_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, store: str, said: str
) -> None:
    Store(tmp_path / "store").write(RECORD)
    assert cli.main(["export", "--store", str(tmp_path / store), "--out", str(tmp_path / out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


class _Command:
    """An entry point of another package."""

    name, value = "greet", "stranger:add"

    def __init__(self, fault: ImportError | None = None) -> None:
        self._fault = fault

    def load(self) -> Any:
        if self._fault:
            raise self._fault
        return lambda commands: commands.add_parser("greet").set_defaults(run=lambda asked: print("hello"))


def test_the_command_heeds_a_containers_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    heeded: list[bool] = []
    monkeypatch.setattr(command, "heed_quota", lambda: heeded.append(True))
    assert cli.main(["list"]) == 0
    assert heeded == [True]


def test_another_package_adds_a_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "entry_points", lambda group: [_Command()])
    assert cli.main(["greet"]) == 0
    assert capsys.readouterr().out == "hello\n"


def test_a_broken_package_does_not_take_the_command_down(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "entry_points", lambda group: [_Command(ImportError("no stranger"))])
    assert cli.main(["list"]) == 0
    assert "sub-command 'greet' (stranger:add) is left out: no stranger" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--workers", "-1"], ["--images", "0"], ["--batch", "many"]])
def test_a_count_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "fmnist", "--store", "store", *wrong])
    assert caught.value.code == 2
    assert "is not a whole number of at least" in capsys.readouterr().err


def test_a_log_gets_plain_lines_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("harness.progress.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    shown = Progress(1000, "images", stream)
    for _ in range(4):
        clock[0] += 5
        shown.advance(100, "fake[seed=0]")
    shown.reduce(600)
    shown.advance(0)
    shown.close()
    assert stream.getvalue().splitlines() == [
        "200/1000 images, 20.0 images/s, 0:40 left  fake[seed=0]",
        "400/1000 images, 20.0 images/s, 0:30 left  fake[seed=0]",
    ]


def test_a_terminal_gets_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    shown = Progress(10, "images", stream)
    shown.advance(10, "fake")
    shown.say("a line")
    shown.close()
    assert "100%" in stream.getvalue()
    assert "a line" in stream.getvalue()


def test_lines_that_come_too_fast_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("harness.progress.time.monotonic", lambda: clock[0])
    said: list[str] = []
    tell = progress.throttled(said.append, every=10)
    for now in range(25):
        clock[0] = float(now)
        tell(str(now))
    assert said == ["0", "10", "20"]
