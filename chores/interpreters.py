"""Which Pythons are installed on this machine: on the PATH, or by pyenv or uv."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

PROGRAM = "import sys; assert sys.implementation.name == 'cpython'; print('.'.join(map(str, sys.version_info[:3])))"

SEES_CUDA = "import torch; print(torch.cuda.is_available())"


def supported(project: dict[str, list[str]]) -> list[str]:
    """The versions that the classifiers of pyproject.toml name, such as 3.12."""
    named = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in project["classifiers"]]
    return [match.group(1) for match in named if match]


def find(version: str) -> str | None:
    """An interpreter of that version, such as 3.12 or 3.12.1; None if none is found."""
    return next((path for path in _candidates(version) if _is(path, version)), None)


def with_torch(pythons: Iterable[str]) -> str | None:
    """The first of these interpreters whose torch sees a CUDA device; if none does, the first that has torch; None if
    none has."""
    found = [(path, said) for path in pythons if (said := _said(path, SEES_CUDA))]
    return next((path for path, said in found if said == "True"), found[0][0] if found else None)


def _candidates(version: str) -> Iterator[str]:
    short = ".".join(version.split(".")[:2])
    for entry in os.get_exec_path():  # all entries: pyenv's shims exist even if they lead to no Python
        if found := shutil.which(f"python{short}", path=entry):
            yield found
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", home / ".local" / "share" / "uv" / "python"))
    for folder, pattern in ((pyenv, f"{short}.*"), (uv, f"cpython-{short}.*")):
        for program in sorted(folder.glob(f"{pattern}/bin/python{short}")):
            yield str(program)


def _is(python: str, version: str) -> bool:
    return f"{_said(python, PROGRAM)}.".startswith(f"{version}.")


def _said(python: str, program: str) -> str:
    """What a program prints; empty if it fails, or if there is no such interpreter."""
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
