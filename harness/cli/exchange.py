"""The commands that exchange records between people: ``submit`` packs records into a file, ``import`` adds the records
of such a file."""

import argparse
from pathlib import Path
from typing import Any

from harness.progress import counted
from harness.records.store import Store


def add(commands: Any) -> None:
    """Add ``submit`` and ``import`` to the commands of arbench."""
    add = commands.add_parser("submit", help="pack records and thumbnails into one file, for somebody's leaderboard")
    add.add_argument("trials", nargs="*", metavar="TRIAL", help="names of trials (default: all that are finished)")
    add.add_argument("--store", type=Path, required=True, metavar="DIR", help="folder of records")
    add.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")
    add.add_argument("--by", required=True, metavar="WHO", help="who measured this; shown beside the rows")
    add.set_defaults(run=_submit)
    add = commands.add_parser("import", help="check a submitted file and add its records, marked as submitted")
    add.add_argument("file", type=Path, metavar="FILE", help="what 'arbench submit' wrote")
    add.add_argument("--store", type=Path, required=True, metavar="DIR", help="folder of records, made if need be")
    add.set_defaults(run=_import)


def _submit(asked: argparse.Namespace) -> None:
    from harness.records.submissions import submit

    count = submit(Store(asked.store).must_exist(), asked.out, asked.by, asked.trials)
    print(f"{counted(count, 'record')} written to {asked.out}")


def _import(asked: argparse.Namespace) -> None:
    from harness.records.submissions import admit

    added, known = admit(asked.file, Store(asked.store))
    print(f"{counted(added, 'record')} added to {asked.store} as submitted, {known} were there")
    if added:
        print(f"'arbench verify --store {asked.store}' runs them again and marks those that come out")
