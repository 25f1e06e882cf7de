"""Packs: records and their arrays in one file, for sending. A pack is a zip that is read as if an enemy had written it.

    about.json              format, who packed it and when, the sha256 of every other member
    0/record.json           a record as the store has it
    0/NAME.npy              an array of this record

Members are read into memory and never written to disk. Each member has a limit of size, which is checked on the bytes
that are read, not only on the size that the zip states. A member must be named as above and be listed in about.json.
Nothing is unpickled. A pack with any fault is refused: ArbenchError gives the reason.
"""

import hashlib
import io
import json
import math
import re
import stat
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from harness import files
from harness.errors import ArbenchError
from harness.records.store import Record

FORMAT = "arbench-records-1"
LARGEST = 256 * 2**20
"""A pack may have at most so many bytes. The same limit holds for all its members together, after decompression."""
LARGEST_JSON, LARGEST_ARRAY = 2**20, 2**24
MOST_RECORDS, MOST_MEMBERS = 1000, 30_000
DEEPEST, LONGEST_TEXT, LONGEST_LIST = 12, 20_000, 100_000
DTYPES = ("uint8", "int64", "float32")
_MEMBER = re.compile(r"(?:0|[1-9]\d{0,2})/(?:record\.json|[A-Za-z0-9][A-Za-z0-9 ._-]{0,100}\.npy)", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Pack:
    """The content of a pack."""

    by: str  # who packed it, in their words
    made: str  # when it was packed
    sha256: str  # of the pack's file
    records: tuple[tuple[Record, Arrays], ...]  # each with its arrays


def write(path: Path, by: str, made: str, records: Iterable[tuple[Record, Mapping[str, NDArray[Any]]]]) -> None:
    """Write a pack. The same records give the same bytes. Raises ArbenchError if the file cannot be written."""

    def fill(file: IO[bytes]) -> None:
        hashes: dict[str, str] = {}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack:

            def add(name: str, content: bytes) -> None:
                member = zipfile.ZipInfo(name)  # without a date
                member.external_attr = (stat.S_IFREG | 0o644) << 16
                pack.writestr(member, content, zipfile.ZIP_DEFLATED)
                hashes[name] = hashlib.sha256(content).hexdigest()

            for place, (record, arrays) in enumerate(records):
                add(f"{place}/record.json", json.dumps(record, allow_nan=False).encode())
                for name, array in arrays.items():
                    add(f"{place}/{name}.npy", _npy(array))
            about = {"format": FORMAT, "by": by, "made": made, "sha256": dict(hashes)}
            add("about.json", json.dumps(about, indent=1).encode())

    files.write(path, fill)


def read(path: Path) -> Pack:
    """Read a whole pack. If the pack is refused, raises ArbenchError with the file's name and the reason."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            _refuse("it is no file")
        if facts.st_size > LARGEST:
            _refuse(f"it has {facts.st_size} bytes (valid: up to {LARGEST})")
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as pack:
            return _read(pack, hashlib.sha256(content).hexdigest())
    except OSError as error:
        raise ArbenchError(f"cannot read {path}: {error.strerror or error}") from error
    except ArbenchError as error:
        raise ArbenchError(f"{path} is refused: {error}") from error
    except Exception as error:  # a damaged zip raises any of a dozen kinds of error
        raise ArbenchError(f"{path} is refused: no pack, or a damaged one ({type(error).__name__}: {error})") from error


def _read(pack: zipfile.ZipFile, sha256: str) -> Pack:
    members = pack.infolist()
    if len(members) > MOST_MEMBERS:
        _refuse(f"it has {len(members)} members (valid: up to {MOST_MEMBERS})")
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        _refuse("a member is there twice")
    for member in members:
        _check(member)
    if sum(member.file_size for member in members) > LARGEST:
        _refuse(f"its members say they have over {LARGEST} bytes")
    if "about.json" not in names:
        _refuse("about.json is missing")
    about = strict_json(_bounded(pack, "about.json", LARGEST_JSON * 8), "about.json")
    hashes = _about(about, set(names) - {"about.json"})
    found: dict[int, tuple[Record, Arrays]] = {}
    for name in sorted(hashes):
        place, _, part = name.partition("/")
        record, arrays = found.setdefault(int(place), ({}, {}))
        is_json = part == "record.json"
        content = _bounded(pack, name, LARGEST_JSON if is_json else LARGEST_ARRAY)
        if hashlib.sha256(content).hexdigest() != hashes[name]:
            _refuse(f"{name} does not have the sha256 that about.json says")
        if is_json:
            record |= strict_json(content, name)
        else:
            arrays[part.removesuffix(".npy")] = _array(content, name)
    if len(found) > MOST_RECORDS or sorted(found) != list(range(len(found))) or not found:
        _refuse(f"its records are not numbered from 0 to at most {MOST_RECORDS - 1}")
    if lacking := [place for place, (record, _) in found.items() if not record]:
        _refuse(f"{lacking[0]}/record.json is missing")
    return Pack(about["by"], about["made"], sha256, tuple(found[place] for place in sorted(found)))


def _check(member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if member.filename != member.orig_filename or (
        member.filename != "about.json" and not _MEMBER.fullmatch(member.filename)
    ):
        _refuse(f"{member.orig_filename[:80]!r} is no name of a member")
    if kind not in (0, stat.S_IFREG):
        _refuse(f"{member.filename} is a link or some other thing that is no file")
    if member.flag_bits & 1:
        _refuse(f"{member.filename} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        _refuse(f"{member.filename} is compressed in a way that is not taken")


def _about(about: Any, names: set[str]) -> Mapping[str, str]:
    if not isinstance(about, dict) or about.get("format") != FORMAT or set(about) != {"format", "by", "made", "sha256"}:
        _refuse(f"about.json is not of format {FORMAT}")
    for name in ("by", "made"):
        if not isinstance(about[name], str) or not plain_text(about[name], 200):
            _refuse(f"about.json: {name} is not plain text of up to 200 characters")
    hashes = about["sha256"]
    if not isinstance(hashes, dict) or not all(isinstance(one, str) and _HEX.fullmatch(one) for one in hashes.values()):
        _refuse("about.json: sha256 is not one of hashes")
    if set(hashes) != names:
        _refuse(f"about.json and the pack name other members: {sorted(set(hashes) ^ names)[0][:80]!r}")
    return hashes


def _bounded(pack: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The content of a member. A member of more than ``most`` bytes is refused without unpacking the rest."""
    with pack.open(name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        _refuse(f"{name} has more than {most} bytes")
    return content


def strict_json(content: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object of plain values. Refuses not-a-number, infinities, huge numbers, keys that occur twice, deep
    nesting and long texts. Python's own reader would accept all of these."""
    try:
        found = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=lambda text: _refuse(f"{text} is no number"),
            parse_float=_finite,
            parse_int=_whole,
        )
    except ArbenchError as error:
        raise ArbenchError(f"{what}: {error}") from error
    except RecursionError as error:
        raise ArbenchError(f"{what}: nested more than {DEEPEST} deep") from error
    except ValueError as error:
        raise ArbenchError(f"{what} is no JSON in UTF-8: {error}") from error
    if not isinstance(found, dict) or not found:
        _refuse(f"{what} is no JSON object")
    found = files.valid(found)  # older versions packed command lines whose text has no UTF-8
    _walk(found, what, 0)
    return found


def plain_text(text: str, most: int = LONGEST_TEXT) -> bool:
    """Whether a text is printable, has at most ``most`` characters, and holds nothing that looks like a tag of HTML."""
    return len(text) <= most and (text.isprintable() or not text) and not re.search(r"<\s*[A-Za-z/!?]", text)


def _walk(value: Any, what: str, depth: int) -> None:
    if depth > DEEPEST:
        _refuse(f"{what}: nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        for name, part in value.items():
            if not plain_text(name, 100):
                _refuse(f"{what}: {name[:40]!r} is no plain name")
            _walk(part, f"{what}: {name}" if depth == 0 else what, depth + 1)
    elif isinstance(value, list):
        if len(value) > LONGEST_LIST:
            _refuse(f"{what}: a list of {len(value)} values")
        for part in value:
            _walk(part, what, depth + 1)
    elif isinstance(value, str) and not plain_text(value):
        _refuse(f"{what}: {value[:40]!r} is no plain text")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse("a key occurs twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or abs(value) > 1e30:
        _refuse(f"{text[:40]} is too large a number")
    return value


def _whole(text: str) -> int:
    if len(text) > 21:
        _refuse(f"{text[:40]}... is too large a number")
    return int(text)


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _array(content: bytes, name: str) -> NDArray[Any]:
    """The array of a .npy file of version 1.0. The array is made only after a check that the shape and type in the
    file's header fit the number of bytes in the file."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        _refuse(f"{name} is not of the version of .npy that is taken")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=1000)
    left = len(content) - file.tell()
    if dtype.name not in DTYPES or fortran or not 1 <= len(shape) <= 4 or min(shape) < 0:
        _refuse(f"{name} is {dtype} {shape} (valid: {', '.join(DTYPES)}, up to 4 dimensions)")
    if math.prod(shape) * dtype.itemsize != left:
        _refuse(f"{name} says it is {shape}, and has {left} bytes")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape).copy()


def _refuse(reason: str) -> NoReturn:
    raise ArbenchError(reason)
