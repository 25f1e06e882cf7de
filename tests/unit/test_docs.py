"""What docs/measuring.md points to is there."""

import ast
import re
from pathlib import Path

import nox.registry
import pytest

import noxfile  # noqa: F401 - registers the sessions

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "measuring.md").read_text()
TRAPS = [line for line in PAGE.partition("## Traps")[2].splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize("line", TRAPS, ids=lambda line: line.split("|")[1].strip()[:50])
def test_every_trap_names_a_test_that_shows_it_impossible(line: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", line)
    assert named
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (path, name)


def test_every_session_that_is_named_is_one_of_noxs() -> None:
    named = set(re.findall(r"`nox -s ([a-z]+)", PAGE))
    assert named >= {"coverage", "copies", "large", "overhead"}
    assert named <= set(nox.registry.get())
