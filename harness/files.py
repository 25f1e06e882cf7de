"""Files that a reader never sees half of: written under a temporary name beside their place, then renamed."""

import errno
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.errors import ArbenchError

if TYPE_CHECKING:
    import numpy as np

STALE_S = 24 * 3600
"""Age in seconds at which a temporary file is taken for the leftover of a killed process."""


def write(path: Path, fill: Callable[[IO[bytes]], None]) -> None:
    """Write a file at once or not at all, its folder made if need be; the last of several writers wins.

    Raises ArbenchError naming the file and the reason (no such folder, read-only, disk full).
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ArbenchError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON. Not-a-number is refused with ValueError: readers in other languages choke on it."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write(path, lambda file: None if file.write(text.encode()) else None)


def read_json(path: Path) -> Any:
    """What ``write_json`` wrote; None if there is no such file. ArbenchError if it is damaged."""
    try:
        try:
            return json.loads(path.read_bytes())
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return json.loads(path.read_bytes())  # over NFS another machine has replaced it while it was read
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArbenchError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ArbenchError(f"cannot read {path}: it is damaged, or no JSON in UTF-8 ({error})") from error


def write_arrays(path: Path, arrays: "Mapping[str, np.ndarray[Any, Any]]") -> None:
    """Write named arrays as .npz."""
    import numpy as np  # late: the command's --help needs none

    def fill(file: IO[bytes]) -> None:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]  # numpy's stub takes the names for its own options

    write(path, fill)


def read_arrays(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> "dict[str, np.ndarray[Any, Any]]":
    """The arrays of an .npz file, or those whose names are wanted. ArbenchError if it is missing or damaged; pickled
    objects are never loaded."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if wanted(name)}
    except Exception as error:  # a damaged zip raises any of half a dozen kinds
        raise ArbenchError(f"cannot read {path}: {error}") from error


def remove_stale(folder: Path) -> None:
    """Remove what killed writers left in a folder. Young files stay: another process may be writing them."""
    for path in folder.glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()
        except OSError:
            continue  # someone else was faster
