"""Reads and writes files. A file is written under a temporary name in its folder and then renamed, so that a reader
never sees half a file."""

import contextlib
import errno
import json
import os
import re
import secrets
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.errors import ArbenchError

if TYPE_CHECKING:
    import numpy as np

STALE_S = 24 * 3600
"""A temporary file older than this many seconds is taken to be one that a killed process left behind."""
LONGEST_TOML = 10**6
"""Maximum length of a TOML file that a person wrote, in characters."""


def write(path: Path, fill: Callable[[IO[bytes]], None]) -> None:
    """Write a whole file or nothing. The file's folder is made if needed. If several processes write the same file, the
    last one wins.

    fill: writes the content into the open file.

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


def write_text(path: Path, text: str) -> None:
    """Write a whole text in UTF-8, or nothing."""

    def fill(file: IO[bytes]) -> None:
        file.write(text.encode())

    write(path, fill)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON that any reader accepts. Text that UTF-8 cannot encode is escaped (``valid_text``).
    Raises ValueError for numbers that are not finite."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    if _SURROGATE.search(text):
        text = json.dumps(valid(value), indent=1, allow_nan=False) + "\n"
    write_text(path, text)


def read_json(path: Path) -> Any:
    """Read a file that ``write_json`` wrote; None if there is no such file. ArbenchError if the file is damaged."""
    import msgspec  # late: who writes files only, such as a stage on a borrowed GPU, needs it not

    try:
        try:
            content = path.read_bytes()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            content = path.read_bytes()  # over NFS: another machine replaced the file during the read
        with contextlib.suppress(msgspec.MsgspecError, RecursionError):  # json tells below what is wrong, and where
            return msgspec.json.decode(content)  # a third of json's time; it takes no escaped surrogate
        found = json.loads(content, parse_constant=_no_number)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArbenchError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ArbenchError(f"cannot read {path}: it is damaged, or no JSON in UTF-8 ({error})") from error
    return valid(found) if _SURROGATE.search(content.decode("latin-1")) else found


_SURROGATE = re.compile(r"\\ud[89a-f]", re.IGNORECASE)
"""Matches an escaped surrogate in ASCII JSON. A surrogate is either half of a character beyond U+FFFF, or stands for a
byte on the command line that is not part of valid UTF-8."""


def valid_text(text: str) -> str:
    """The text, with each character that UTF-8 cannot encode replaced by an escape. U+DCFF is such a character: Python
    turns a byte 0xff on the command line into U+DCFF."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def valid(value: Any) -> Any:
    """A copy of plain values (texts, numbers, lists and dicts), in which UTF-8 can encode every text.

    ``valid_text`` is applied to each text, and also to the keys of dicts.
    """
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, Mapping):
        return {valid(name): valid(part) for name, part in value.items()}
    return [valid(part) for part in value] if isinstance(value, list | tuple) else value


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file that a person wrote. A byte order mark is skipped.

    what: the name that errors give to this kind of file.

    Raises ArbenchError naming the file and the fault. An integer that has thousands of digits is a fault, too.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(LONGEST_TOML + 1)
        if len(text) > LONGEST_TOML:
            raise ArbenchError(f"{path}: no {what}: it has more than {LONGEST_TOML:,} characters")
        return tomllib.loads(text)
    except OSError as error:
        raise ArbenchError(f"cannot read {what} {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        utf16 = error.object[:2] in (b"\xff\xfe", b"\xfe\xff")
        reason = "it is in UTF-16" if utf16 else f"{error.reason} at byte {error.start}"
        raise ArbenchError(f"{path}: not a text file in UTF-8 ({reason})") from error
    except RecursionError as error:
        raise ArbenchError(f"{path}: not valid TOML: nested too deep") from error
    except tomllib.TOMLDecodeError as error:
        raise ArbenchError(f"{path}: not valid TOML: {error}") from error
    except ValueError as error:  # Python refuses integers of so many digits
        raise ArbenchError(f"{path}: not valid TOML: a number has thousands of digits") from error


def write_arrays(path: Path, arrays: "Mapping[str, np.ndarray[Any, Any]]") -> None:
    """Write named arrays as .npz."""
    import numpy as np  # late: the command's --help does not need it

    def fill(file: IO[bytes]) -> None:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]  # numpy's stub mistakes the names for options

    write(path, fill)


def read_arrays(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> "dict[str, np.ndarray[Any, Any]]":
    """Read arrays from an .npz file: those whose names ``wanted`` accepts. Raises ArbenchError if the file is missing
    or damaged. Pickled objects are never loaded."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if wanted(name)}
    except Exception as error:  # a damaged zip raises any of half a dozen kinds of error
        raise ArbenchError(f"cannot read {path}: {error}") from error


def remove_stale(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder. Temporary files younger than STALE_S seconds stay,
    because another process may be writing them."""
    for path in folder.glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()
        except OSError:
            continue  # another process was faster
