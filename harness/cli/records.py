"""The commands about existing records: ``export``, ``compare``, ``diff``, ``verify``."""

import argparse
from pathlib import Path
from typing import Any

from harness.cli.options import add_checkpoint, add_only, count
from harness.errors import ArbenchError
from harness.progress import counted
from harness.records.store import Record, Store


def add(commands: Any) -> None:
    """Add ``export``, ``compare``, ``diff`` and ``verify`` to the commands of arbench."""
    _add_export(commands)
    _add_compare(commands)
    _add_diff(commands)
    _add_verify(commands)


def _add_export(commands: Any) -> None:
    add = commands.add_parser("export", help="all records as one table")
    add.add_argument("--store", type=Path, required=True, metavar="DIR", help="folder of records")
    add.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .csv or .parquet file")
    add.set_defaults(run=_export)


def _add_compare(commands: Any) -> None:
    add = commands.add_parser("compare", help="two trials: which is better, and how sure that is")
    add.add_argument("one", metavar="A", help="a trial's name, or how its key begins")
    add.add_argument("other", metavar="B")
    add.add_argument("--store", type=Path, required=True, metavar="DIR", help="folder of records")
    add.set_defaults(run=_compare)


def _add_diff(commands: Any) -> None:
    add = commands.add_parser("diff", help="which figures moved beyond noise from one store to another; exit code 1")
    add.add_argument("one", type=Path, metavar="STORE_A")
    add.add_argument("other", type=Path, metavar="STORE_B")
    add.set_defaults(run=_diff)


def _add_verify(commands: Any) -> None:
    add = commands.add_parser("verify", help="run records' trials again: do their figures come out?")
    add.add_argument(
        "records", type=Path, nargs="*", metavar="RECORD", help="a record's .json file (default: those bundled)"
    )
    add.add_argument("--store", type=Path, metavar="DIR", help="the submitted records of a store; marks what comes out")
    add_only(add)
    add_checkpoint(add)
    add.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda (all GPUs), cuda:1 (default: cpu)")
    add.add_argument(
        "--workers", type=count(0), default=1, metavar="N", help="processes (default: %(default)s; 0: this one)"
    )
    add.set_defaults(run=_verify)


def _export(asked: argparse.Namespace) -> None:
    from harness.records.store import Store

    kind = asked.out.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ArbenchError(f"--out {asked.out}: a file's name ends in .csv or .parquet")
    table = Store(asked.store).must_exist().table()
    try:
        if kind == ".csv":
            table.to_csv(asked.out, index=False)
        else:
            table.to_parquet(asked.out, index=False)
    except ImportError as error:
        raise ArbenchError("Parquet needs the package pyarrow (pip install pyarrow); .csv needs nothing") from error
    except OSError as error:
        raise ArbenchError(f"cannot write {asked.out}: {error.strerror or error}") from error
    print(f"{len(table)} records written to {asked.out}")


def _compare(asked: argparse.Namespace) -> None:
    from harness.records.comparison import differences, in_words
    from harness.records.setups import differences_of_setup
    from harness.stages.timing.summary import why_disturbed, why_noisy

    store = Store(asked.store).must_exist()
    one, other = _named(store, asked.one), _named(store, asked.other)
    print(f"A  {one['name']}\nB  {other['name']}")
    for words in differences_of_setup(one, other):
        print(f"their setups differ in {words}")
    print(f"{'':<22}{'A':>12}{'B':>12}   B - A, 95 %")
    for difference in differences((one, store.arrays(one)), (other, store.arrays(other))):
        print(in_words(difference, "A", "B"))
    for letter, record in (("A", one), ("B", other)):
        for line in why_noisy(record.get("timing") or {}):
            print(f"{letter} was timed on a noisy machine, {line}")
        for line in why_disturbed(record.get("timing") or {}):
            print(f"{letter} was timed on a disturbed GPU, {line}")


def _named(store: Store, text: str) -> Record:
    """The finished record whose name is ``text``, or whose key begins with ``text``. If a trial has several records,
    ``Store.records`` chooses one of them, in general the newest. The other records of the trial are not considered.
    Raises ArbenchError if no record fits, or if several do."""
    records = [record for record in store.records() if record["status"] == "done"]
    found = [record for record in records if record["name"] == text or record["key"].startswith(text)]
    if len(found) != 1:
        what = f"{len(found)} finished records are" if found else "no finished record is"
        raise ArbenchError(f"{what} called {text!r} in {store.folder} (valid: a trial's name, or how its key begins)")
    return found[0]


def _diff(asked: argparse.Namespace) -> int:
    from harness.records.comparison import in_words, moved

    found = moved(Store(asked.one).must_exist(), Store(asked.other).must_exist())
    for name, difference in found.figures:
        print(f"{name}\n  {in_words(difference, 'A', 'B')}")
    for words, pairs in sorted(found.setups.items()):
        print(f"the setups of {counted(pairs, 'trial')} differ in {words}")
    for name, folder in found.only:
        print(f"only in {folder}: {name}")
    print(f"{counted(found.compared, 'trial')} compared, {counted(len(found.figures), 'figure')} moved")
    return int(bool(found.figures))


def _verify(asked: argparse.Namespace) -> int:
    from harness.machine import devices
    from harness.run import verification
    from harness.run.driver import Options
    from harness.run.selection import only, parse_checkpoints

    devices.checked(asked.device)
    options = Options(workers=asked.workers, device=asked.device, checkpoints=parse_checkpoints(asked.checkpoint))
    if asked.store is not None:
        if asked.records:
            raise ArbenchError("verify takes records, or --store")
        return _told(verification.verify(Store(asked.store).must_exist(), options, asked.only), asked.device)
    records = [verification.read(path) for path in asked.records or sorted(verification.BUNDLED.glob("*.json"))]
    records = only(asked.only, records, lambda record: str(record["name"]))
    found = verification.again(records, options)
    return _told(list(zip(records, found, strict=True)), asked.device)


def _told(found: list[tuple[Record, list[str]]], device: str) -> int:
    """Print for each record whether it was reproduced. If it was not, also print the faults that were found. Returns
    the exit code.

    found: pairs of a record and its faults; each fault says what was not reproduced

    If a record was made on another kind of device than ``device``, a note says so. The scores of such a record need
    only lie in the intervals that the record gives.
    """
    from harness.run.verification import made_elsewhere

    for record, faults in found:
        elsewhere = made_elsewhere(record, device)
        words = f" ({elsewhere})" if elsewhere else ""
        print(f"{'not reproduced' if faults else 'reproduced'}: {record['name']}{words}")
        for fault in faults:
            print(f"  {fault}")
    return int(any(faults for _, faults in found))
