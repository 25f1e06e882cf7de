"""The parts of `nox -s gpu` share the time, each has a process of its own, and none costs the others theirs."""

import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest
import torch

from harness.errors import ArbenchError
from tests.programs.gpu import known
from tests.programs.gpu.__main__ import chosen, main
from tests.programs.gpu.lines import FAILED, HELD, Bound, Line, judged
from tests.programs.gpu.parts import NAMES, PARTS, Bench, Part, attempt, thinned
from tests.programs.gpu.runs import Processes, run
from tests.programs.gpu.settings import FAKE


def good(found: Bench) -> list[Line]:
    """A part whose figure is the time that it has."""
    found.figures["good"] = {"seconds": found.seconds}
    return [judged("1", "seconds", Bound(least=0), found.seconds)]


def broken(found: Bench) -> Iterator[Line]:
    """A part that breaks after its first line."""
    yield from good(found)
    raise RuntimeError("out of\nmemory")


def refused(found: Bench) -> list[Line]:
    """A part that an error of arbench's ends."""
    raise ArbenchError("no such thing")


def killed(found: Bench) -> Iterator[Line]:
    """A part whose process is killed after its first line."""
    found.figures["killed"] = {"before": 1}
    yield from good(found)
    os.kill(os.getpid(), signal.SIGKILL)


def crashing(found: Bench) -> list[Line]:
    """A part that crashes below Python."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return []


def endless(found: Bench) -> Iterator[Line]:
    """A part that never ends, and does not let go of an error, as a stage that gives up one case and goes on."""
    yield from good(found)
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


def deaf(found: Bench) -> list[Line]:
    """A part that cannot be interrupted, as one that waits in a driver."""
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            continue


def part(function: str, number: str = "1") -> Part:
    """A part that one of the functions of this module is."""
    return Part(function, number, f"the part {function}", 1, f"{__name__}:{function}")


def processes(folder: Path, said: list[str] | None = None, grace: float = 60.0) -> Processes:
    """What runs parts in processes."""
    tell = (said if said is not None else []).append
    return Processes("cpu", True, folder, tell, time.monotonic(), grace=grace)


def test_a_part_whose_process_dies_does_not_cost_the_others_theirs(tmp_path: Path) -> None:
    work = processes(tmp_path)
    order = [part("killed", "3"), part("crashing"), part("good")]
    first, second, third, fourth = run(order, work, lambda: 120.0)
    assert [line.verdict for line in (first, second, third, fourth)] == [HELD, FAILED, FAILED, HELD]
    assert (second.number, second.name) == ("3", "the part killed")
    assert second.figure == "its process crashed: SIGKILL"
    assert third.figure == "its process crashed: SIGSEGV"
    assert work.figures == {"killed": {"before": 1}, "good": {"seconds": fourth.value}}
    assert work.about["torch"], "each process says what it runs on"


def test_a_part_that_breaks_says_why_and_keeps_its_lines(tmp_path: Path) -> None:
    said: list[str] = []
    first, second = attempt(part("broken"), bench(tmp_path, 60.0, said))
    assert [line.verdict for line in (first, second)] == [HELD, FAILED]
    assert second.figure == "RuntimeError: out of memory"
    assert any("in broken" in line for line in said), "the traceback is shown"
    (third,) = attempt(part("refused"), bench(tmp_path, 60.0))
    assert (third.verdict, third.figure) == (FAILED, "no such thing")


def test_a_part_that_takes_too_long_is_ended_and_that_is_a_fault(tmp_path: Path) -> None:
    first, second = attempt(part("endless"), bench(tmp_path, 0.2))
    assert (first.verdict, second.verdict, second.figure) == (HELD, FAILED, "not done after 0.2 s")


def test_a_part_that_does_not_end_by_itself_is_killed(tmp_path: Path) -> None:
    (hung,) = processes(tmp_path, grace=1.0)(part("deaf"), 1.0, 0.5)
    assert (hung.verdict, hung.figure) == (FAILED, "not done after 0.5 s, and did not end by itself")


def bench(folder: Path, limit: float, said: list[str] | None = None) -> Bench:
    """What a part is given."""
    tell = (said if said is not None else []).append
    return Bench(torch.device("cpu"), FAKE, folder, tell, seconds=1.0, limit=limit)


def test_a_process_that_is_left_alone_ends_with_the_program(tmp_path: Path) -> None:
    """As when Ctrl-C ends the program while a part runs."""
    lines = processes(tmp_path)(part("endless"), 60.0, 60.0)
    next(lines)
    (order,) = tmp_path.glob("*.order")
    assert str(order) in running()
    lines.close()  # type: ignore[attr-defined]
    assert str(order) not in running()


def running() -> str:
    """The command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text().replace("\0", " "))
        except OSError:
            continue
    return "\n".join(found)


def test_time_is_shared_by_weight_and_what_is_left_over_goes_on() -> None:
    now, shares = [0.0], []

    def takes(one: Part, share: float, limit: float) -> Iterator[Line]:
        shares.append((share, limit))
        now[0] += float(one.run)
        yield from ()

    parts = [Part("a", "1", "a part", 1, seconds) for seconds in ("80", "120", "0")]
    assert list(run(parts, takes, lambda: 240 - now[0])) == []
    # 240 / 3, (240 - 80) / 2, 240 - 200; each may take twice as long, or what is left.
    assert shares == [(80, 160), (80, 160), (40, 40)]


def test_a_short_part_has_a_minute_at_the_least() -> None:
    limits = []

    def takes(one: Part, share: float, limit: float) -> Iterator[Line]:
        limits.append(limit)
        yield from ()

    list(run([Part("a", "1", "a", 1, ""), Part("b", "1", "b", 99, "")], takes, lambda: 400.0))
    assert limits == [60, 400]


def test_a_part_for_which_no_time_is_left_is_a_fault() -> None:
    late = Part("b", "5", "the time of ActVAR", 1, "")
    (line,) = run([late], lambda *_: iter(()), lambda: 2.0)
    assert (line.verdict, line.number, line.name) == (FAILED, "5", "the time of ActVAR")
    assert line.figure == "not begun: no time was left (--minutes)"


def test_every_part_can_be_found_and_official_comes_with_the_times_that_it_needs() -> None:
    assert all(callable(one.function()) for one in PARTS)
    assert NAMES[0] == "graphs"
    assert NAMES[-1] == "official"
    assert chosen(["official"]) == {"official", "speed"}
    assert chosen(["same"]) == {"same"}
    assert chosen(None) == set(NAMES)


def test_progress_of_every_round_is_thinned() -> None:
    said: list[str] = []
    tell = thinned(said.append)
    for turn in range(1000):
        tell(f"round {turn}")
    assert said == ["round 0"]


def test_packages_that_python_lacks_are_found_last_here_and_in_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    site = tmp_path / "site"
    for name in ("carried_package", "numpy"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text("")
    known.add_packages(tmp_path / "path", site)
    assert known.missing(("carried_package", "no_such_package")) == ["no_such_package"]
    program = "import carried_package, numpy; print(numpy.__file__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert str(site) not in done.stdout


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
