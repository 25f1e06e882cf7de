"""`arbench new-method` writes a package; `arbench check` knows which methods are whose."""

import tomllib
from pathlib import Path

import pytest

from harness import cli
from harness.conformance import check
from harness.errors import ArbenchError


def test_it_writes_a_package_of_that_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new-method", "two-words", "--out", str(tmp_path / "mine")]) == 0
    written = {str(path.relative_to(tmp_path / "mine")) for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    said = capsys.readouterr().out
    assert written == {
        "pyproject.toml", "README.md", "sweep.toml", "two_words/__init__.py", "two_words/method.py",
        "tests/test_two_words.py",
    }  # fmt: skip
    assert all(name in said for name in written)
    project = tomllib.loads((tmp_path / "mine" / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["arbench.methods"] == {"two-words": "two_words.method:TwoWords"}
    compile((tmp_path / "mine" / "two_words" / "method.py").read_text(), "method.py", "exec")
    assert "[method.two-words]" in (tmp_path / "mine" / "sweep.toml").read_text()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("ear", "there is a method 'ear' already"),
        ("Upper", "no method's name"),
        ("../up", "no method's name"),
        ("a--b", "no method's name"),
        ("-a", "no method's name"),
        ("class", "no method's name"),
        ("x" * 41, "no method's name"),
        ("torch", "Python has a module 'torch' already"),
        ("json", "Python has a module 'json' already"),
    ],
)
def test_a_name_that_cannot_be_is_told(
    name: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["new-method", "--out", str(tmp_path / "mine"), "--", name]) == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new-method", "mine", "--out", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_packages_methods_are_found_by_distribution_and_by_module() -> None:
    assert "ear" in check.methods_of("arbench")
    assert check.methods_of("methods") == ["actvar", "actvar-random", "ear"]
    with pytest.raises(ArbenchError, match="unknown package that adds methods 'nobody'.*valid: arbench"):
        check.methods_of("nobody")
