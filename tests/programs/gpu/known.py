"""Makes methods known to Python where arbench is not installed.

Methods are found through entry points, which only an installed package has. On a borrowed machine nothing is installed.
There this module writes the entry points of pyproject.toml into a folder, as an installation would, and puts the folder
on the path of this process and of its children.
"""

import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib import invalidate_caches
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
NEEDED = ("numpy", "PIL", "safetensors", "scipy", "torch")
"""Packages without which nothing runs."""
USEFUL = {"torch_fidelity": "Inception's features are not measured", "pynvml": "the GPU's state is not recorded"}
"""Packages without which something is left out."""


LEAST = {"torch": (2, 11)}
"""Versions before these are refused."""


def missing(names: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed. A package that is too old is among them, with its version:
    ``torch 2.11 or later (2.6.0 is installed)``."""
    return [words for name in names if (words := name if find_spec(name) is None else too_old(name))]


def too_old(name: str) -> str:
    """A package whose version is before that in LEAST, in words; "" if it is recent, or if its version is not known."""
    try:
        found = version(name) if name in LEAST else ""
    except PackageNotFoundError:
        return ""
    numbers = re.match(r"(\d+)\.(\d+)", found)
    if numbers is None or tuple(map(int, numbers.groups())) >= LEAST[name]:
        return ""
    return f"{name} {'.'.join(map(str, LEAST[name]))} or later ({found} is installed)"


def add_packages(folder: Path, packages: Path | None) -> None:
    """Append a folder of packages to the path of this process and of its children. What Python itself has is found
    first, so that a torch in the folder does no harm.

    folder: takes a file; it must stay until the program ends.
    packages: None if there are none.
    """
    if packages is None:
        return
    sys.path.append(str(packages.resolve()))
    folder.mkdir(parents=True)
    # PYTHONPATH would put the folder before the packages that Python itself has.
    (folder / "sitecustomize.py").write_text(f"import sys\n\nsys.path.append({str(packages.resolve())!r})\n")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    invalidate_caches()


def make_known(folder: Path) -> bool:
    """Make arbench's entry points known to this process and its children. Returns whether that had to be done: an
    installed arbench is known already.

    folder: takes the entry points; it must stay until the program ends.
    """
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        distribution("arbench")
        there = True
    except PackageNotFoundError:
        there = False
        written(folder, tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])
        sys.path.append(str(folder))
        path.append(str(folder))
        invalidate_caches()
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    return not there


def written(folder: Path, project: Mapping[str, Any]) -> Path:
    """Write the metadata of a package that is not installed. Returns the folder of the metadata.

    project: the table of that name in pyproject.toml.
    """
    made = folder / f"{project['name']}-{project['version']}.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in points.items())])
        for group, points in project["entry-points"].items()
    ]
    (made / "entry_points.txt").write_text("\n\n".join(groups) + "\n")
    return made
