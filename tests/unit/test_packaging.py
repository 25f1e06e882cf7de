"""What is shipped: entry points, dependencies, the wheel, and the rules of the house that a program can check."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.method import Method

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("arbench", "harness", "baselines", "methods", "reports")
MAY_IMPORT = {
    "arbench": {"arbench", "harness"},
    "harness": {"harness"},
    "baselines": {"harness", "baselines"},
    "methods": {"harness", "baselines", "methods"},
    "reports": {"harness", "reports"},
}
COMMANDS = (
    "python3 -m pip install nox && python3 -m nox -s reproduce",
    "python3 -m pip install nox && python3 -m nox -s tests",
)
ENTRY_POINTS = [(group, name) for group, points in PROJECT["entry-points"].items() for name in points]


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The first part of every name that a module imports, wherever the import stands in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name their package in full"
            yield (node.module or "").partition(".")[0]


def requirements(*extras: str) -> list[Requirement]:
    lists = (PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras))
    return [Requirement(line) for lines in lists for line in lines]


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize(("group", "name"), ENTRY_POINTS, ids=[f"{group}:{name}" for group, name in ENTRY_POINTS])
def test_every_entry_point_is_installed_and_loads(group: str, name: str) -> None:
    (point,) = entry_points(group=group, name=name)
    assert point.value == PROJECT["entry-points"][group][name]
    loaded = point.load()
    if group == "arbench.methods":
        assert issubclass(loaded, Method)
        assert loaded.name == name


def test_the_command_is_installed_and_loads() -> None:
    (point,) = entry_points(group="console_scripts", name="arbench")
    assert callable(point.load())


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    forbidden = set(PACKAGES) - MAY_IMPORT[package]
    assert modules(package)
    found = [f"{path.relative_to(ROOT)} imports {name}" for path in modules(package) for name in imported(path)]
    assert not [line for line in found if line.split()[-1] in forbidden]


def test_every_third_party_import_is_a_declared_dependency() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    distributions = packages_distributions()
    for path in modules(*PACKAGES):
        for name in set(imported(path)) - set(PACKAGES) - sys.stdlib_module_names:
            owners = {canonicalize_name(owner) for owner in distributions.get(name, [name])}
            assert owners & declared, f"{path.relative_to(ROOT)} imports {name}, which pyproject.toml does not ask for"


def test_no_module_is_longer_than_400_lines() -> None:
    paths = [*modules(*PACKAGES, "chores", "tests"), ROOT / "noxfile.py"]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert {name: length for name, length in lengths.items() if length >= 400} == {}


def test_the_readme_gives_the_two_commands_on_its_first_screen() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:24]
    for command in COMMANDS:
        assert any(re.match(rf"    {re.escape(command)}( +#.*)?$", line) for line in first_screen), command


def test_what_the_readme_and_the_pages_name_exists() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text()
        files = re.findall(
            r"(?<![\w/.])(?:baselines|methods|harness|reports|tests)/[\w./]+\.(?:py|toml|sh|csv)\b", text
        )
        linked = [place for place in re.findall(r"\]\(([^)#:]+)\)", text) if place]
        assert [name for name in files if not (ROOT / name).exists()] == [], page.name
        assert [place for place in linked if not (page.parent / place).exists()] == [], page.name


def test_the_lock_pins_every_direct_dependency_within_its_range() -> None:
    locked = pins()
    for requirement in requirements("dev"):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), str(requirement)


def test_every_dependency_has_a_lower_bound_that_nox_can_install() -> None:
    for requirement in requirements():
        assert [part.version for part in requirement.specifier if part.operator == ">="], str(requirement)


def test_the_lock_holds_exact_pins_and_leaves_cuda_to_torch() -> None:
    for name, version in pins().items():
        assert name == canonicalize_name(name)
        assert re.fullmatch(r"[\w.]+", version), f"{name}: {version} would shut out other builds of the same release"
        assert not re.match(r"nvidia-(?!ml-py$)|cuda-|triton$", name)
