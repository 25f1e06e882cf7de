"""The command ``arbench claims``."""

import argparse
import json
from contextlib import nullcontext
from pathlib import Path


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``claims`` to the commands of arbench."""
    parser = subparsers.add_parser("claims", help="what papers state, checked against records and architectures")
    parser.add_argument("--store", type=Path, metavar="DIR", help="folder of records (default: those that come along)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--fail-on-contradiction", action="store_true", help="exit code 1 if a claim is contradicted")
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    """Judge the shipped claims and print the verdicts."""
    from harness.records.store import Store  # late: pandas and torch would slow every other command
    from reports.claims.bundled import bundled_store
    from reports.claims.claim import shipped
    from reports.claims.evidence import Evidence
    from reports.claims.verdict import CONTRADICTED, in_words, judge

    with bundled_store() if asked.store is None else nullcontext(Store(asked.store).must_exist()) as store:
        evidence = Evidence(store)
        verdicts = [judge(claim, evidence) for claim in shipped()]
    print(json.dumps([one.plain() for one in verdicts], indent=1) if asked.json else in_words(verdicts))
    return int(asked.fail_on_contradiction and any(one.word == CONTRADICTED for one in verdicts))
