"""The parts of `nox -s gpu` share the time, and none costs the others theirs."""

import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest
import torch

from harness.errors import ArbenchError
from tests.programs.gpu import known
from tests.programs.gpu.__main__ import NAMES, main
from tests.programs.gpu.lines import FAILED, HELD, NOT_MEASURED, Bound, Line, judged
from tests.programs.gpu.parts import Bench, Part, run
from tests.programs.gpu.settings import FAKE


def bench(folder: Path, said: list[str] | None = None) -> Bench:
    """What parts are given."""
    return Bench(torch.device("cpu"), FAKE, folder, (said if said is not None else []).append)


def good(found: Bench) -> list[Line]:
    """A part whose figure is the time that it has."""
    return [judged("1", "seconds", Bound(least=0), found.seconds)]


def test_a_part_that_breaks_does_not_cost_the_others_their_lines(tmp_path: Path) -> None:
    def broken(found: Bench) -> list[Line]:
        raise RuntimeError("out of\nmemory")

    def ended(found: Bench) -> list[Line]:
        raise SystemExit("VAR, official: exit code 1")

    def refused(found: Bench) -> list[Line]:
        raise ArbenchError("no such thing")

    said: list[str] = []
    parts = [
        Part(name, "1", name, 1, work) for name, work in {"a": broken, "b": ended, "c": refused, "d": good}.items()
    ]
    first, second, third, fourth = (lines[0] for lines in run(parts, bench(tmp_path, said), 60))
    assert [line.verdict for line in (first, second, third, fourth)] == [FAILED, FAILED, FAILED, HELD]
    assert first.figure == "RuntimeError: out of memory"
    assert (second.figure, third.figure) == ("VAR, official: exit code 1", "no such thing")
    assert any("in broken" in line for line in said), "the traceback is shown"


def test_lines_that_a_part_has_given_before_it_broke_or_was_ended_stay(tmp_path: Path) -> None:
    def broken(found: Bench) -> Iterator[Line]:
        yield from good(found)
        raise RuntimeError("later")

    def endless(found: Bench) -> Iterator[Line]:
        yield from good(found)
        while True:
            time.sleep(0.01)

    parts = [Part("a", "1", "a", 1, broken, 0.0), Part("b", "1", "b", 1, endless, 0.0)]
    first, second = run(parts, bench(tmp_path), 0.2)
    assert [line.verdict for line in first] == [HELD, FAILED]
    assert [line.verdict for line in second] == [HELD, NOT_MEASURED]


def test_time_is_shared_by_weight_and_what_is_left_over_goes_on(tmp_path: Path) -> None:
    now = [0.0]

    def takes(seconds: float) -> Part:
        def work(found: Bench) -> list[Line]:
            now[0] += seconds
            return good(found)

        return Part("a", "1", "a part", 1, work)

    parts = [takes(10), takes(50), takes(0)]
    shares = [lines[0].value for lines in run(parts, bench(tmp_path), 90, lambda: now[0])]
    assert shares == pytest.approx([30, 40, 30])  # 90 / 3, (90 - 10) / 2, 90 - 60


def test_a_part_for_which_no_time_is_left_is_not_begun(tmp_path: Path) -> None:
    now = [0.0]

    def slow(found: Bench) -> list[Line]:
        now[0] += 58
        return []

    late = Part("b", "5", "the time of ActVAR", 1, good)
    _, (line,) = run([Part("a", "1", "a part", 1, slow), late], bench(tmp_path), 60, lambda: now[0])
    assert (line.verdict, line.number, line.name) == (NOT_MEASURED, "5", "the time of ActVAR")
    assert line.figure == "no time was left (1 minutes in all)"


def test_a_part_that_takes_far_too_long_is_ended(tmp_path: Path) -> None:
    def endless(found: Bench) -> list[Line]:
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # as a stage that gives up one case and goes on
                continue

    parts = [Part("a", "3", "endless", 1, endless, 0.0), Part("b", "1", "b", 9, good, 0.0)]
    (first,), (second,) = run(parts, bench(tmp_path), 1.0)
    assert (first.verdict, first.figure) == (NOT_MEASURED, "not done after 0.2 s")
    assert second.verdict == HELD


def test_methods_are_known_without_an_installation(tmp_path: Path) -> None:
    project = tomllib.loads((known.ROOT / "pyproject.toml").read_text())["project"]
    known.written(tmp_path, project)
    (found,) = distributions(path=[str(tmp_path)])
    assert (found.metadata["Name"], found.version) == ("arbench", project["version"])
    points = {(point.group, point.name, point.value) for point in found.entry_points}
    assert points == {(group, *one) for group, named in project["entry-points"].items() for one in named.items()}


def test_an_installed_arbench_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert known.make_known(tmp_path / "known") is False
    assert not (tmp_path / "known").exists()


def test_without_a_gpu_the_program_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "sees no CUDA device" in said.err


def test_without_a_package_the_program_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(known, "NEEDED", ("numpy", "no_such_package"))
    assert main([]) == 2
    assert capsys.readouterr().err == "nothing was measured: Python packages are missing: no_such_package\n"


@pytest.mark.parametrize(
    ("installed", "old"), [("2.6.0+cu124", True), ("2.11.0", False), ("3.0a1", False), ("x", False)]
)
def test_a_torch_that_is_too_old_is_refused_in_one_line(
    installed: str, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "version", lambda name: installed)
    assert known.missing(["numpy", "torch"]) == (["torch 2.11 or later (2.6.0+cu124 is installed)"] if old else [])


def test_an_unknown_part_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "sped"])
    assert f"unknown part 'sped' (valid: {', '.join(NAMES)})" in capsys.readouterr().err
