"""What is told of progress, where there is nothing to count, one thing, or no time gone."""

import io
import re
from pathlib import Path

import pytest

from harness import cli
from harness.progress import Progress, counted, narrated
from tests.helpers import sweeping


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["log", "terminal"])
def test_where_there_are_no_images_no_images_are_counted(stream: io.StringIO) -> None:
    shown = Progress(0, "images", stream, every=0.0)
    shown.advance(0, "fake[seed=0]")
    shown.advance(0)
    shown.close()
    assert stream.getvalue() == "fake[seed=0]\n"


def test_before_anything_is_done_there_is_no_rate_and_no_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("harness.progress.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    shown = Progress(10, "images", stream, every=0.0)
    shown.advance(5, "at once")  # no time has gone: no rate
    clock[0] += 5
    shown.reduce(4)
    shown.advance(1)
    later = Progress(10, "images", stream, every=0.0)
    clock[0] += 5
    later.advance(0, "flops")
    one = Progress(1, "trials", stream)
    clock[0] += 4
    one.advance(1)
    assert stream.getvalue().splitlines() == [
        "5/10 images  at once",
        "6/6 images, 1.2 images/s, 0:00 left",
        "0/10 images  flops",
        "1/1 trial, 0.2 trials/s, 0:00 left",
    ]


def test_a_share_of_nothing_has_no_time_left() -> None:
    stream = io.StringIO()
    narrated(stream, every=0.0)("distances")(0.0)
    assert stream.getvalue() == "distances: 0%\n"


def test_one_is_not_several() -> None:
    assert [counted(count, "trial") for count in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]


def test_a_run_without_images_counts_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sweeping.in_folder(tmp_path) as patch:
        patch.setattr("harness.progress.EVERY_S", 0.0)
        store = str(tmp_path / "store")
        command = ["run", str(tmp_path / "small.toml"), "--store", store, "--workers", "0", "--only", "*steps=2,*"]
        assert cli.main([*command, "--random-weights"]) == 0
        said = capsys.readouterr()
        assert said.out.startswith("1 trial: 1 measured, 0 already recorded, 0 failed")
        assert cli.main(["status", store]) == 0
        text = said.err + capsys.readouterr().out
    assert re.findall(r"(?<![\d.])(?:0/0|0 images|0 of 0|1 trials)\b|unknown", text) == []
