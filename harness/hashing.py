"""Computes hashes of plain values and of files. The keys of trials are made with these hashes. The key of a trial
changes if the trial's settings, its weights or the code of its method change. The hash of a method's source is computed
elsewhere, in harness.identity.source."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import ArbenchError


def digest(value: Any) -> str:
    """The sha256, in hex, of plain values (dicts in any order, lists, strings, finite numbers)."""
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hex. ArbenchError if the file cannot be read.

    The hash is computed once per run, and again only if the file's size or modification time changes.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise ArbenchError(f"cannot read {path}: {error.strerror}") from error
    return _file_sha256(path, facts.st_mtime_ns, facts.st_size)


@cache
def _file_sha256(path: Path, mtime_ns: int, size: int) -> str:
    return sha256(path)


def weights_sha256(files: Iterable[Path]) -> dict[str, str]:
    """A dict from the name of each file to its sha256. files: the files that a method reads."""
    return {path.name: file_sha256(path) for path in files}


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArbenchError(f"cannot read {path}: {error.strerror}") from error
