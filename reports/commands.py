"""The commands ``arbench report`` and ``arbench claims``."""

import argparse
from pathlib import Path

from reports.claims import commands as claims


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``report`` and ``claims`` to the commands of arbench."""
    parser = subparsers.add_parser("report", help="write the pages and figures of a store")
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="the folder of records")
    parser.add_argument("--out", type=Path, default=Path("site"), metavar="DIR", help="folder to write (default: site)")
    parser.add_argument("--note", metavar="TEXT", help="at the top of every page: what is still open")
    parser.set_defaults(run=run)
    claims.add(subparsers)


def run(args: argparse.Namespace) -> int:
    """Build the report and print where it is."""
    from reports.build import build  # late: matplotlib and pandas would slow every other command

    print(build(args.store, args.out, args.note or ""))
    return 0
