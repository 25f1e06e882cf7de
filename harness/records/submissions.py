"""Exchanges records with others: packs records of a store into one file, and imports such a file into a store.

An imported record has the part ``submission``. It says who submitted the record, when, and in which file. The command
``verify`` runs the trial of an imported record again. If the results are reproduced, ``verify`` notes this in
``submission``, and the record counts as verified.

The trial of an imported record can also be measured here. The record of this measurement then replaces the imported
record, unless the imported record is verified.
"""

from collections.abc import Sequence
from pathlib import Path

from harness.errors import ArbenchError
from harness.identity import provenance
from harness.records import admission, packs
from harness.records.store import REPLICATES, Record, Store, read_record


def submit(store: Store, out: Path, by: str, names: Sequence[str] = ()) -> int:
    """Pack finished records of a store; returns the number of packed records. Two sorts of records are not packed:
    imported records, and records of images that another program made. If ``names`` are given, only the records of these
    names are packed. The machine's name and the folders in the command line are left out.

    Raises ArbenchError in these cases:

    - For at least one of the ``names``, the store has no record that can be packed.
    - There is no record to pack.
    - ``by`` is empty, or is not a plain text of up to 200 characters.
    - ``admit`` would refuse one of the records.
    """
    done = [one for one in store.records() if one["status"] == "done" and "submission" not in one]
    records = [one for one in done if "foreign" not in one]  # foreign samples cannot be verified
    if unknown := set(names) - {one["name"] for one in records}:
        raise ArbenchError(f"no finished record of {store.folder} is called {min(unknown)!r}")
    chosen = [one for one in records if not names or one["name"] in names]
    if not chosen:
        raise ArbenchError(f"{store.folder} has no finished record to submit")
    if not by.strip() or not packs.plain_text(by, 200):
        raise ArbenchError("--by: who submits, in up to 200 plain characters")
    packed = [(_without_names(one), _travelling(store.arrays(one))) for one in chosen]
    for record, arrays in packed:
        try:
            admission.check(record, arrays)
        except ArbenchError as error:
            raise ArbenchError(f"{record['name']} would be refused: {error}") from error
    packs.write(out, by, provenance.now(), packed)
    return len(packed)


def _travelling(arrays: packs.Arrays) -> packs.Arrays:
    return {name: one for name, one in arrays.items() if name in admission.ARRAYS or name.startswith(REPLICATES)}


def _without_names(record: Record) -> Record:
    """The record without the parts that point to a person: the host name, and folders."""
    about = record["provenance"]
    command = [Path(part).name or part for part in about["command"]]
    timing = record["timing"]
    if timing is not None:  # a record without timing is refused later, as by every import
        timing = {**timing, "machine": {**timing.get("machine", {}), "host": ""}}
    private = {**about, "command": command, "machine": {**about["machine"], "host": ""}}
    return {**record, "provenance": private, "timing": timing}


def admit(path: Path, store: Store) -> tuple[int, int]:
    """Import a pack into a store. Returns two counts: the records added, and the records that the store had already.
    The whole pack is checked before anything is written.

    If the pack is refused, raises ArbenchError, which names the file, the record and the reason.
    """
    pack = packs.read(path)
    new: list[tuple[Record, packs.Arrays]] = []
    places: set[Path] = set()
    for place, (record, arrays) in enumerate(pack.records):
        try:
            admission.check(record, arrays)
            file = store.path(record["name"], record["key"])
            if file in places:
                raise ArbenchError("there are two records of this trial")
            places.add(file)
            if not _known(store, record):
                new.append((record, arrays))
        except ArbenchError as error:
            raise ArbenchError(f"{path} is refused: record {place}: {error}") from error
    mark = {"by": pack.by, "made": pack.made, "file": pack.sha256, "imported": provenance.now(), "verified": None}
    if new:
        store.prepare()
    for record, arrays in new:
        store.write({**record, "submission": mark}, arrays)
    return len(new), len(pack.records) - len(new)


def _known(store: Store, record: Record) -> bool:
    """Whether the store has this record already. The record's name and key determine its file in the store. Raises
    ArbenchError if this file holds a record with other content."""
    there = read_record(store.path(record["name"], record["key"]))
    if there is None:
        return False
    if {name: there.get(name) for name in _MEASURED} != {name: record[name] for name in _MEASURED}:
        raise ArbenchError(f"the store has a record of key {record['key'][:12]} already, with other figures")
    return True


_MEASURED = ("key", "name", "trial", "generate", "quality", "flops")
