"""No page says a command that is not there: each is run, or taken by the program that it calls."""

import shlex
from pathlib import Path

import nox.registry
import pytest

import noxfile  # noqa: F401 - registers the sessions
from harness import registry, sweep
from harness.cli.command import parser
from harness.errors import ArbenchError
from harness.records.store import Store
from tests.docs.pages import PAGES, ROOT, commands, ran

OTHERS = {"git", "cd", "export", "python3 -m venv", ".", "sudo", "curl", "xdg-open", "pip", "python3 -m pip"}
"""What is not ours."""


def lines() -> list[tuple[str, str]]:
    """Every command of every page."""
    return [(page.name, shlex.join(command)) for page in PAGES for command in commands(page)]


def test_every_page_of_docs_shows_commands() -> None:
    assert len(lines()) > 80
    assert {page for page, _ in lines()} >= {
        "README.md",
        "tutorial.md",
        "score.md",
        "cluster.md",
        "gpu.md",
        "retrain.md",
    }


@pytest.mark.parametrize(("page", "line"), sorted(set(lines())))
def test_a_command_that_a_page_shows_is_one(page: str, line: str) -> None:
    known(line)


@pytest.mark.parametrize(
    "line",
    [
        "arbench runn smoke --store store",
        "arbench run no-such-sweep --store store",
        "arbench run smoke --stor store --imagess 3",
        "arbench flops vra --preset imagenet256-d16",
        "arbench flops var --preset imagenet256-d17",
        "python3 -m nox -s reproduec",
        "python docs/no-such-file.py",
        "python3 -m tests.programs.no_such_program",
        "no-such-program --help",
    ],
)
def test_a_command_that_is_none_is_found_out(line: str) -> None:
    with pytest.raises((AssertionError, ArbenchError)):
        known(line)


def known(line: str) -> None:
    """The program that a line calls takes it."""
    words = shlex.split(line)
    if words[:4] == ["python3", "-m", "nox", "-s"] or words[:2] == ["nox", "-s"]:
        names = words[words.index("-s") + 1 :]
        names = names[: names.index("--")] if "--" in names else names
        assert names
        assert set(names) <= set(nox.registry.get())
    elif words[0] == "arbench" or "-m arbench" in line:
        taken(words[words.index("arbench") + 1 :])
    elif words[:2] == ["python3", "-m"] and words[2].startswith("tests."):
        place = ROOT / words[2].replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
    elif words[0] == "python" or words[:3] == ["python3", "-m", "pytest"]:
        assert (ROOT / words[1]).is_file() or "cooled" in words[-1]  # the package that add-a-method.md makes
    else:
        assert " ".join(words[:3]) in OTHERS or words[0] in OTHERS or "torch.cuda.is_available" in line


def taken(words: list[str]) -> None:
    """The command line takes these words; methods, presets and sweeps that they name are there."""
    if "--help" in words:
        words = [word for word in words if word != "--help"]
        assert words[0] in ("train",)
        return
    try:
        asked = parser().parse_args([word for word in words if word != "..."])
    except SystemExit as end:
        raise AssertionError(f"arbench {shlex.join(words)}: not a command line") from end
    if words[0] == "run" and not words[1].startswith("cooled/"):
        assert sweep.load(asked.sweep).trials
    if words[0] == "flops":
        assert asked.preset in registry.get(asked.method).presets


def test_the_tutorial_leads_from_nothing_to_pages(programs: Path, tmp_path: Path) -> None:
    said = []
    for command in commands(ROOT / "docs" / "tutorial.md"):
        if command[0] == "python3":  # installing, and what takes ten minutes
            continue
        if command[1] in ("run", "verify"):
            command = [*command, "--workers", "0"]
        said.append((command[1], ran(command, programs, tmp_path)))
    printed = [out for name, out in said if name == "run"]
    assert "5 trials: 5 measured, 0 already recorded, 0 failed" in printed[0]
    assert "5 trials: 0 measured, 5 already recorded, 0 failed" in printed[1]
    assert len(Store(tmp_path / "store").records()) == 5
    assert (tmp_path / "site" / "index.html").is_file()
    assert (tmp_path / "table.csv").read_text().count("\n") == 6
    assert "actvar-flops-d16" in dict(said)["claims"]
