"""Standard output and error may be closed, full, gone, or in ASCII: no finished work is lost, no traceback shown."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import cli
from harness.cli import methods
from harness.records.store import Store
from tests.helpers import sweeping


@pytest.fixture
def small(tmp_path: Path) -> Iterator[list[str]]:
    """The command that runs a sweep of one trial into a store in ``tmp_path``."""
    with sweeping.in_place() as patch:
        patch.setenv(sweeping.WEIGHTS, str(sweeping.make_weights(tmp_path / "fake.safetensors")))
        (tmp_path / "small.toml").write_text(sweeping.SWEEP.replace("[1, 2, 4]", "[1]"))
        yield ["run", str(tmp_path / "small.toml"), "--store", str(tmp_path / "store"), "--workers", "0"]


def main(command: list[str], out: str | None, err: str | None) -> int:
    """The exit code of a process of its own with these files as standard output and error; closed where None."""

    def run() -> int:
        for number, path in ((1, out), (2, err)):
            os.close(number)
            if path is not None:
                assert os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) == number
        sys.stdout = None if out is None else open(1, "w", encoding="utf-8", closefd=False)  # noqa: PTH123, SIM115
        sys.stderr = None if err is None else open(2, "w", 1, encoding="utf-8", closefd=False)  # noqa: PTH123, SIM115
        code = cli.main(command)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # as Python does when it ends
        return code

    return sweeping.forked(run)


def done(folder: Path) -> int:
    return sum(record["status"] == "done" for record in Store(folder / "store").records())


def test_a_run_with_standard_error_closed_measures_all_the_same(small: list[str], tmp_path: Path) -> None:
    assert main(small, str(tmp_path / "out"), None) == 0
    assert done(tmp_path) == 1
    assert (tmp_path / "out").read_text().startswith("1 trial: 1 measured")


def test_a_run_with_both_on_a_full_disk_keeps_its_records_and_fails(small: list[str], tmp_path: Path) -> None:
    assert main(small, "/dev/full", "/dev/full") == 2
    assert done(tmp_path) == 1


def test_standard_output_on_a_full_disk_is_one_line(small: list[str], tmp_path: Path) -> None:
    assert main(["list"], "/dev/full", str(tmp_path / "err")) == 2
    assert (tmp_path / "err").read_text() == "arbench: standard output: No space left on device\n"


@pytest.mark.parametrize("err", [None, "/dev/full"])
def test_an_error_nobody_can_read_is_an_exit_code(tmp_path: Path, err: str | None) -> None:
    assert main(["run", str(tmp_path / "absent"), "--store", str(tmp_path / "store")], str(tmp_path / "out"), err) == 2
    assert (tmp_path / "out").read_text() == ""


def test_a_file_opened_later_does_not_take_the_place_of_a_closed_standard_error(tmp_path: Path) -> None:
    def run() -> int:
        os.close(2)
        sys.stderr = None
        monkeypatched: Callable[[object], int] = lambda asked: os.open(tmp_path / "record", os.O_CREAT)  # noqa: E731
        methods._list = monkeypatched  # type: ignore[assignment]
        return cli.main(["list"])

    assert sweeping.forked(run) > 2


def test_a_reader_that_has_gone_is_silence(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Gone())
    assert cli.main(["list"]) == 0
    monkeypatch.setattr(sys, "stderr", Gone())  # 2>&1 | head
    assert cli.main(["run", "absent", "--store", "store"]) == 2


def test_a_name_that_the_terminal_cannot_show_is_escaped(small: list[str], tmp_path: Path) -> None:
    store = tmp_path / os.fsdecode(b"st\xff\xc3\xb6re")
    Store(store).write({"name": "fake[seed=0]", "key": "a" * 64, "status": "done", "trial": {"images": 1}})

    def run() -> int:
        out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
        sys.stdout = io.TextIOWrapper(os.fdopen(out, "wb"), encoding="ascii")
        code = cli.main(["export", "--store", str(store), "--out", str(store / "all.csv")])
        sys.stdout.flush()
        return code

    assert sweeping.forked(run) == 0
    assert (tmp_path / "out").read_text().endswith("st\\udcff\\xf6re/all.csv\n")
