"""``arbench new-method NAME`` writes a package with a working method, which the user turns into a new method."""

import importlib.util
import keyword
import re
from importlib.resources import files as resources
from pathlib import Path
from string import Template

from harness import files, registry
from harness.errors import ArbenchError

LAYOUT = {
    "pyproject.txt": "pyproject.toml",
    "readme.txt": "README.md",
    "sweep.txt": "sweep.toml",
    "init.txt": "{module}/__init__.py",
    "method.txt": "{module}/method.py",
    "test.txt": "tests/test_{module}.py",
}
"""Templates in baselines/skeleton -> files of the package."""


def write(name: str, folder: Path) -> list[Path]:
    """Write the package of a method called ``name`` into a new folder; returns the files written.

    Raises ArbenchError if the name is not valid, if the name is taken, or if the folder exists.
    """
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 40 or keyword.iskeyword(module):
        raise ArbenchError(f"{name!r} is no method's name (valid: small letters, digits and single dashes, up to 40)")
    if name in registry.names():
        raise ArbenchError(f"there is a method {name!r} already (arbench list)")
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.origin is not None:  # a plain folder of that name is not a module
        raise ArbenchError(f"Python has a module {module!r} already ({spec.origin}): choose another name")
    if folder.exists():
        raise ArbenchError(f"{folder} is there already")
    words = {"name": name, "module": module, "class_name": "".join(part.capitalize() for part in name.split("-"))}
    written = []
    for template, place in LAYOUT.items():
        text = Template((resources("baselines") / "skeleton" / template).read_text("utf-8")).substitute(words)
        path = folder / place.format(module=module)
        files.write_text(path, text)
        written.append(path)
    return written
