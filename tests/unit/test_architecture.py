"""The house: packages of harness import only what stands below them, and every package says what is in it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[2] / "harness"

ORDER = (
    *("errors", "numbers", "files", "file_kinds", "hashing", "progress", "plugins", "machine", "checkpoints", "images"),
    *("noise", "sampling", "setup", "method", "registry", "traces", "execution", "inputs", "identity", "trial"),
    *("training", "extractors", "stages", "sweep", "records", "jobs", "cluster", "run", "conformance", "cli"),
)
"""What is in harness, from the ground up: each may import what stands before it, late imports included."""


def dotted(path: Path) -> list[str]:
    """The module's name below harness, as in ``["stages", "flops", "counter"]``; a package's own is ``__init__``."""
    return list(path.relative_to(HARNESS).with_suffix("").parts)


def imports(path: Path, source: str) -> Iterator[list[str]]:
    """What a module imports of harness, wherever in it the import stands, names below harness."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1:] for name in names if name.startswith("harness."))


def violations(path: Path, source: str) -> list[str]:
    """Imports that go up, or from one stage to another."""
    own = dotted(path)
    if own == ["__init__"]:
        return []
    found = []
    for other in imports(path, source):
        up = ORDER.index(other[0]) > ORDER.index(own[0])
        aside = own[0] == other[0] == "stages" and len(own) > 2 and (HARNESS / "stages" / other[1]).is_dir()
        if up or (aside and own[1] != other[1]):
            found.append(f"harness.{'.'.join(own)} imports harness.{'.'.join(other)}")
    return found


MODULES = sorted(HARNESS.rglob("*.py"))


def test_every_module_and_package_has_its_place_in_the_order() -> None:
    there = {path.stem for path in HARNESS.glob("*.py")} - {"__init__"}
    there |= {path.parent.name for path in HARNESS.glob("*/__init__.py")}
    assert there == set(ORDER)


def test_imports_go_down_and_no_stage_imports_another() -> None:
    assert [line for path in MODULES for line in violations(path, path.read_text())] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("records/store.py", "def late():\n    from harness.run.driver import run"),
        ("stages/flops/counter.py", "from harness.stages.quality.features import blocks"),
        ("stages/flops/counter.py", "from harness.stages.quality import features"),
        ("machine/cores.py", "import harness.registry"),
        ("method.py", "from harness import registry"),
    ],
)
def test_an_import_that_goes_up_or_aside_is_found(path: str, source: str) -> None:
    assert len(violations(HARNESS / path, source)) == 1


def graph() -> dict[str, set[str]]:
    """Module -> modules of harness that it imports, late imports included."""
    names = {".".join(dotted(path)).removesuffix(".__init__"): path for path in MODULES}
    edges: dict[str, set[str]] = {}
    for name, path in names.items():
        found = set()
        for other in imports(path, path.read_text()):
            parts = [".".join(other[:size]) for size in range(len(other), 0, -1)]
            found |= {next((part for part in parts if part in names), name)}
        edges[name] = found - {name}
    return edges


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges = graph()
    while free := [name for name, others in edges.items() if not others & edges.keys()]:
        for name in free:
            del edges[name]
    assert edges == {}


def test_at_most_sixteen_modules_lie_directly_in_harness() -> None:
    assert len(list(HARNESS.glob("*.py"))) <= 16


@pytest.mark.parametrize("package", sorted({path.parent for path in MODULES}), ids=lambda path: path.name)
def test_a_package_says_what_is_in_it(package: Path) -> None:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    named = set(re.findall(r"\w+", text))
    inside = {path.stem for path in package.glob("[!_]*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert {name for name in inside if not name.startswith(("test_", "conftest"))} <= named
