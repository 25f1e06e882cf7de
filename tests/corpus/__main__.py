"""Makes the corpus, runs it, prints the table; exit code 1 if a file is neither right nor one clear line."""

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from tests.corpus.cases import GOOD, VERDICTS, Case, Outcome
from tests.corpus.places import in_place, kinds
from tests.corpus.run import outcomes

SEED = 15


def chosen(count: int, only: Sequence[str] = ()) -> dict[str, int]:
    """How many files of each kind: ``count`` in the proportions of the whole, at least one each."""
    shares = {kind: share for kind, (share, _) in kinds().items() if not only or kind in only}
    return {kind: max(1, round(count * share / sum(shares.values()))) for kind, share in shares.items()}


def run(
    counts: Mapping[str, int], folder: Path, seed: int = SEED
) -> tuple[dict[str, Counter[str]], list[tuple[Case | None, Outcome]]]:
    """Verdicts by kind, and the cases that came out neither right nor as one clear line."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    bad = []
    torch.set_num_threads(1)
    with in_place(folder) as valid:
        for kind, count in counts.items():
            makes = [(kind, kinds()[kind][1])] * count
            for name, case, outcome in outcomes(makes, valid, folder, f"{seed} {kind}"):
                table[name][outcome.verdict] += 1
                if outcome.verdict not in GOOD:
                    bad.append((case, outcome))
    return dict(table), bad


def in_words(table: Mapping[str, Counter[str]]) -> str:
    """The table."""
    head = f"{'kind':<14}{'files':>7}" + "".join(f"{name:>13}" for name in VERDICTS)
    whole: Counter[str] = sum(table.values(), Counter())
    rows = [(kind, found) for kind, found in table.items()] + [("all", whole)]
    return "\n".join([head, *(_row(kind, found) for kind, found in rows)])


def _row(kind: str, found: Counter[str]) -> str:
    return f"{kind:<14}{found.total():>7}" + "".join(f"{found[name]:>13}" for name in VERDICTS)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--kind", action="append", default=[])
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="arbench-corpus-") as folder:
        table, bad = run(chosen(asked.count, asked.kind), Path(folder), asked.seed)
    for case, outcome in bad:
        said = outcome.fault or " | ".join(outcome.lines[-3:])
        print(f"{outcome.verdict}: {case and f'{case.kind}: {case.what}: {case.command}'}\n    {said[:400]}")
        if outcome.changed:
            print(f"    changed: {', '.join(outcome.changed)[:300]}")
    print(in_words(table))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
