"""Other Pythons are found where they are, and the versions that pyproject.toml names are those that CI runs."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from chores import interpreters

ROOT = Path(__file__).parents[2]
HERE = ".".join(map(str, sys.version_info[:3]))


def program(path: Path, version: str) -> None:
    """A program that says it is that Python."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH, and folders of pyenv and uv that are not there."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    return tmp_path


def test_pythons_are_found_on_the_path_by_pyenv_and_by_uv(nothing_installed: Path) -> None:
    assert interpreters.find("3.97") is None
    for version, place in {
        "3.97.0": "bin/python3.97", "3.98.4": "pyenv/versions/3.98.4/bin/python3.98",
        "3.99.1": "uv/cpython-3.99.1-linux/bin/python3.99",
    }.items():  # fmt: skip
        program(nothing_installed / place, version)
        assert interpreters.find(version.rpartition(".")[0]) == str(nothing_installed / place)
        assert interpreters.find(version) == str(nothing_installed / place)


def test_a_shim_that_leads_nowhere_and_another_patch_version_are_passed_over(nothing_installed: Path) -> None:
    program(nothing_installed / "bin/python3.98", "3.98.0")
    (nothing_installed / "bin/python3.98").write_text("#!/bin/sh\nexit 127\n")
    program(nothing_installed / "pyenv/versions/3.98.4/bin/python3.98", "3.98.4")
    assert interpreters.find("3.98") == str(nothing_installed / "pyenv/versions/3.98.4/bin/python3.98")
    assert interpreters.find("3.98.5") is None


def test_of_the_pythons_with_torch_the_one_that_sees_a_gpu_is_taken(tmp_path: Path) -> None:
    none, cpu, cuda, broken = (tmp_path / name for name in ("none", "cpu", "cuda", "broken"))
    program(cpu, "False")
    program(cuda, "True")
    program(broken, "")
    broken.write_text("#!/bin/sh\nexit 1\n")  # as where torch is not installed
    assert interpreters.with_torch(map(str, (none, broken))) is None
    assert interpreters.with_torch(map(str, (none, broken, cpu))) == str(cpu)
    assert interpreters.with_torch(map(str, (cpu, broken, cuda))) == str(cuda)


def test_ci_runs_the_versions_that_the_classifiers_name_as_far_as_there_are_interpreters() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = interpreters.supported(project)
    ci = (ROOT / ".ci" / "run").read_text()
    others = re.findall(r"^python3 -m nox -s pythons -- --brief (\S+)$", ci, re.MULTILINE)
    assert {"3.11", *others} == {"3.11", "3.12", "3.13"} <= set(named)
