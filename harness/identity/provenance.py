"""Where a result came from: code, machine, versions, command line."""

import hashlib
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.files import valid_text
from harness.machine.hardware import machine

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
PACKAGES = ("arbench", "torch", "torchvision", "numpy", "torch-fidelity", "fvcore", "pandas", "safetensors")
"""The packages that can change a measured number."""


def source_commit() -> str:
    """The commit of the code that runs. ``+dirty`` is appended if the tree differs from the commit. Outside a checkout
    the answer is ``unknown``."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+dirty", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


@cache
def gather() -> dict[str, Any]:
    """The part of the provenance that all records of a run share.

    - ``commit``: as ``source_commit`` gives it, without ``+dirty``
    - ``dirty``: whether the tree differs from the commit
    - ``code``: sha256 of the Python files
    - ``lock``: sha256 of ``requirements.lock`` (the versions of the dependencies); None if there is no such file
    - ``machine``, ``versions``, ``command``
    """
    from harness.identity.source import code_sha256  # late: it imports torch with the methods; --help needs none

    commit, _, dirty = source_commit().partition("+")
    return {
        "commit": commit,
        "dirty": bool(dirty),
        "code": code_sha256(),
        "lock": hashlib.sha256(LOCK.read_bytes()).hexdigest() if LOCK.is_file() else None,
        "machine": machine(),
        "versions": versions(),
        "command": [valid_text(word) for word in sys.argv],
    }


def versions() -> dict[str, str | None]:
    """The versions of Python and of PACKAGES; None for a package that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def now() -> str:
    """The time in UTC as ISO 8601 text, which sorts like time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
