"""Submissions to test with: a valid one, of trials that were really run, and what makes hostile ones of it."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import cli
from harness.errors import ArbenchError
from harness.hashing import digest
from harness.records.store import Store
from harness.records.submissions import admit, submit
from tests.helpers import sweeping

Members = dict[str, bytes]
Record = dict[str, Any]


@contextmanager
def measured(folder: Path) -> Iterator[Store]:
    """A store of the small sweep's three trials, and the fake method in place while it is open."""
    with sweeping.in_folder(folder):
        assert cli.main(["run", str(folder / "small.toml"), "--store", str(folder / "s"), "--workers", "0"]) == 0
        yield Store(folder / "s")


def submitted(store: Store, folder: Path) -> Path:
    """A submission of a store's three records."""
    path = folder / "rows.arbench"
    assert submit(store, path, "A. Stranger") == 3
    return path


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as pack:
        return {name: pack.read(name) for name in pack.namelist()}


def packed(folder: Path, content: Members, extra: Callable[[zipfile.ZipFile], None] = lambda pack: None) -> Path:
    """A file of these members, with the hashes that they have."""
    about = json.loads(content["about.json"])
    about["sha256"] = {name: hashlib.sha256(one).hexdigest() for name, one in content.items() if name != "about.json"}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "hostile.arbench"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, one in {**content, "about.json": json.dumps(about).encode()}.items():
            pack.writestr(name, one)
        extra(pack)
    return path


def forged(content: Members, change: Callable[[Record], object], rekey: bool = False) -> Members:
    """The members with record 0 changed, and, if asked, a key that fits again."""
    record = json.loads(content["0/record.json"])
    change(record)
    if rekey:
        record["key"] = digest(record["identity"])
    return {**content, "0/record.json": json.dumps(record).encode()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(path: Path, folder: Path) -> str:
    """The reason a file is refused for; nothing else may happen, and nothing be written anywhere in ``folder``."""
    before = contents(folder)
    with pytest.raises(ArbenchError) as caught:
        admit(path, Store(folder / "store"))
    assert contents(folder) == before
    assert not (folder / "store").exists()
    reason = str(caught.value)
    assert "refused" in reason or "cannot read" in reason
    return reason


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def setting(*path: str, to: Any) -> Callable[[Record], None]:
    def change(record: Record) -> None:
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = to

    return change


def better(record: Record) -> None:
    record["flops"] = json.loads(json.dumps(record["flops"]))
    for part in ("macs", "flops", "tokens_macs", "decoder_macs"):
        record["flops"][part] /= 2
    record["flops"]["by_part"] = {name: value / 2 for name, value in record["flops"]["by_part"].items()}
