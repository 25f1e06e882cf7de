"""The store: a folder of records, one JSON file each, with arrays beside them, and a work folder for each trial. No
server, no locks.

    records/NAME-KEY.json, .npz     finished and failed trials
    work/KEY/                       files that the stages of a trial write
    sweeps/NAME.json                the trials of the sweeps that were run, for `arbench status`
    cluster/                        what was submitted to a cluster (harness/cluster/submitted.py)
    reference.json                  scores of the reference images, and measured values of the tokenizers

Every file is written under a temporary name and then renamed. So no half-written file is left, even if two runners
write at once or a runner is killed. If two runners finish the same trial, both write a record to the same file. The
record that is written last stays.
"""

import contextlib
import hashlib
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import files
from harness.errors import ArbenchError, one_line
from harness.machine.garbage import no_collection
from harness.records import schema

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


Record = dict[str, Any]
REPLICATES = "replicates "
"""Prefix of the names of replicates among a record's arrays. The score's dotted name follows (``fid.fmnist-cnn``)."""
KEY_SHOWN = 12
"""How many hex digits of a key stand in file names."""


class Store:
    """A folder of records. Opening a store writes nothing. If the folder does not exist, the store has no records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records_folder = folder / "records"
        self.damaged: set[str] = set()  # names of files left out because they cannot be read

    def prepare(self) -> None:
        """Make the folder and check that it can be written. If it cannot, raises ArbenchError with the folder and the
        reason."""
        try:
            self.records_folder.mkdir(parents=True, exist_ok=True)
            files.remove_stale(self.records_folder)
            files.remove_stale(self.folder)
            probe = self.folder / "probe"
            files.write(probe, lambda file: None)
            probe.unlink(missing_ok=True)
        except (OSError, ArbenchError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ArbenchError(f"store {self.folder} cannot be written: {reason}") from error

    def withdraw(self) -> None:
        """Remove the store's folder again if no trial was begun.

        No trial was begun if the folder holds nothing but an empty folder ``records`` and the folder ``references``.
        The folder ``references`` holds the computed statistics of reference images.
        """
        with contextlib.suppress(OSError):
            names = {path.name for path in self.folder.iterdir()}
            if names <= {"records", "references"} and not any(self.records_folder.iterdir()):
                shutil.rmtree(self.folder)

    def must_exist(self) -> "Store":
        """The store itself. Raises ArbenchError if its folder holds no records."""
        if not self.records_folder.is_dir():
            raise ArbenchError(f"{self.folder} is no store: it has no folder 'records' (arbench run makes one)")
        return self

    def announce(self, sweep: str, trials: Sequence[Record], batch: int) -> None:
        """Write down which trials a sweep has.

        batch: number of images per shard, before rounding up to whole compute batches. A shard is a range of a trial's
            images. One job makes one shard.
        """
        keys = hashlib.sha256("".join(trial["key"] for trial in trials).encode()).hexdigest()
        name = f"{_for_file(sweep)}-{keys[:KEY_SHOWN]}.json"
        files.write_json(self.folder / "sweeps" / name, {"sweep": sweep, "batch": batch, "trials": list(trials)})

    def work(self, key: str) -> Path:
        """The folder in which the stages of a trial keep their files."""
        return self.folder / "work" / key[:32]

    def path(self, name: str, key: str) -> Path:
        """The file of a record."""
        return self.records_folder / f"{_for_file(name)}-{key[:KEY_SHOWN]}.json"

    def read(self, name: str, key: str) -> Record | None:
        """The record of a trial; None if there is no record.

        Also None if the record was submitted by somebody else and has not been verified. The trial of such a record is
        still to be measured here. The new record will then replace the submitted record.
        """
        found = self._record(self.path(name, key))
        return found if found is not None and found["key"] == key and trusted(found) else None

    def write(self, record: Record, arrays: "Mapping[str, np.ndarray[Any, Any]] | None" = None) -> None:
        """Write a record and its arrays. The arrays are written first: whoever sees the record finds its arrays."""
        if arrays:
            files.write_arrays(self._arrays_path(record), arrays)
        files.write_json(self.path(record["name"], record["key"]), record)

    def arrays(
        self, record: Record, wanted: Callable[[str], bool] = lambda name: True
    ) -> "dict[str, np.ndarray[Any, Any]]":
        """The arrays of a record, by name. ``wanted`` says for a name whether that array is read; by default, all are.
        Empty for a failed trial.

        thumbnails: uint8 [n, C, H, W] of images 0 to n-1
        steps, labels: int64 [N] of all images
        fingerprints: uint64 [N] of all images, hashes of the images' tokens
        replicates NAME: float32, the value of the score NAME in each draw of the bootstrap
        trace NAME: an array that shows how the first images were made, step by step (harness.traces)
        """
        path = self._arrays_path(record)
        try:
            return files.read_arrays(path, wanted) if path.exists() else {}
        except ArbenchError as error:
            self._leave_out(path, error)
            return {}

    def _arrays_path(self, record: Record) -> Path:
        return self.path(record["name"], record["key"]).with_suffix(".npz")

    def all_records(self) -> Iterator[Record]:
        """Every record, in the order of file names. If a trial has several records, the older ones are included. A
        damaged record is left out; this is reported once on standard error and noted in ``damaged``."""
        for name in sorted(path.name for path in self.records_folder.glob("*.json")):
            if not name.startswith("."):
                found = self._record(self.records_folder / name)
                if found is not None:
                    yield found

    def _record(self, path: Path) -> Record | None:
        try:
            return read_record(path)
        except ArbenchError as error:
            self._leave_out(path, error)
            return None

    def _leave_out(self, path: Path, error: ArbenchError) -> None:
        if path.name not in self.damaged:
            self.damaged.add(path.name)
            named = str(error) if str(path) in str(error) else f"{path}: {error}"
            print(f"arbench: left out: {one_line(named)}", file=sys.stderr)

    def facts(self) -> dict[str, Any]:
        """The facts of the store: scores of the reference images, and measured values of the tokenizers
        (harness/run/limits.py). Empty if the file reference.json is missing or damaged."""
        path = self.folder / "reference.json"
        try:
            found: dict[str, Any] = files.read_json(path) or {}
            schema.check_facts(found)
        except ArbenchError as error:
            self._leave_out(path, error)
            return {}
        return found

    def records(self) -> list[Record]:
        """The records in force, sorted by name and number of images.

        A trial can have several records, because code, weights and metrics change, and each change gives a new key. Of
        these records, the one that was finished last is in force. There is one exception: a submitted record
        that is not verified is not in force if there is also a record that was measured here.
        """
        newest: dict[tuple[str, int], Record] = {}
        with no_collection():
            for record in self.all_records():
                place = (record["name"], record["trial"]["images"])
                if place not in newest or _rank(record) >= _rank(newest[place]):
                    newest[place] = record
        return [newest[place] for place in sorted(newest)]

    def table(self) -> "pd.DataFrame":
        """The records in force as one table: one row per record, nested values under dotted names (``quality.is``)."""
        import pandas as pd  # late: reading one record needs no table

        with no_collection():
            records = self.records()
            columns = _Columns(len(records))
            for place, record in enumerate(records):
                told = {name: part for name, part in record.items() if name != "identity"}  # it repeats the others
                columns.fill(told, place)
            return pd.DataFrame(dict(columns.named()))


class _Columns:
    """Columns of a table of nested dicts, filled row by row."""

    # A frame made of dicts would take ten times as long, and joining names for each row twice as long.
    def __init__(self, rows: int) -> None:
        self._values: defaultdict[str, list[Any]] = defaultdict(lambda: [None] * rows)
        self._inner: defaultdict[str, _Columns] = defaultdict(lambda: _Columns(rows))

    def fill(self, record: Mapping[str, Any], place: int) -> None:
        """Write the values of a nested dict into one row. A column for which the dict has no value keeps None in this
        row.

        place: the index of the row.
        """
        inner, values = self._inner, self._values
        for name, value in record.items():
            if type(value) is dict:  # JSON gives plain dicts; isinstance takes longer
                inner[name].fill(value, place)
            else:
                values[name][place] = value

    def named(self, prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
        """All columns under dotted names."""
        for name, column in self._values.items():
            yield prefix + name, column
        for name, inner in self._inner.items():
            yield from inner.named(f"{prefix}{name}.")


def read_record(path: Path) -> Record | None:
    """A record from its file; None if there is no file. Raises ArbenchError if the file is damaged or is no record."""
    found: Record | None = files.read_json(path)
    if found is not None:
        try:
            schema.check(found)
        except ArbenchError as error:
            raise ArbenchError(f"{path} is no record: {error}") from error
    return found


def trusted(record: Record) -> bool:
    """Whether a record was measured here, or was submitted (harness/records/submissions.py) and verified since."""
    submission = record.get("submission")
    return submission is None or bool(submission["verified"])


def timed(record: Record) -> bool:
    """Whether a record is complete, that is, whether its trial is finished and timed. Two kinds of finished trials have
    no timing: those of a run with ``--no-timing``, and those that the run has yet to time."""
    return record["status"] == "done" and record.get("timing") is not None


def _rank(record: Record) -> tuple[bool, str]:
    return trusted(record), str(record.get("provenance", {}).get("finished", ""))


def _for_file(name: str) -> str:
    """The name of a trial or sweep, changed so that every file system accepts it as the stem of a file name. The stem
    is well under 255 bytes, and the file is not hidden."""
    return re.sub(r"[^\w.=,+\[\]-]", "_", name, flags=re.ASCII).lstrip(".")[:180]
