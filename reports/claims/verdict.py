"""Verdicts on claims.

To judge a claim, its expression is evaluated many times: once in every draw of the bootstrap, with the values that FID
and the other numbers have in this draw (the replicates).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import ArbenchError
from harness.stages import CONFIDENCE
from reports.claims.claim import SCALES, Claim
from reports.claims.evidence import Evidence, Found
from reports.claims.expression import Values
from reports.table import figure

REPRODUCED, CONTRADICTED, UNDECIDED, NOT_MEASURED = "reproduced", "contradicted", "undecided", "not measured"
WORDS = (REPRODUCED, CONTRADICTED, UNDECIDED, NOT_MEASURED)


@dataclass(frozen=True)
class Figure:
    """A number, such as a FID, on which a verdict rests."""

    name: str  # as in the expression
    value: float
    # low, high: the 95 % interval; both are the value itself if the number does not depend on chance
    low: float
    high: float
    where: str  # what the number belongs to, in words
    keys: tuple[str, ...]  # keys of the records in which the number was measured

    def __str__(self) -> str:
        spread = f" ({figure(self.low)} to {figure(self.high)})" if self.low < self.high else ""
        return f"{self.name} {figure(self.value, 4)}{spread}"


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim."""

    claim: Claim
    word: str  # one of WORDS
    figures: tuple[Figure, ...] = ()
    share: float | None = None  # share of the bootstrap's draws in which the claim holds
    missing: str = ""  # what would have to be measured

    @property
    def reason(self) -> str:
        """The numbers on which the verdict rests, or what is missing, in one line."""
        if self.missing:
            return f"missing: {self.missing}"
        return "; ".join(map(str, self.figures)) + (f"; holds in {self.share:.1%}" if self.word == UNDECIDED else "")

    def plain(self) -> dict[str, Any]:
        """The verdict as a dictionary of values that JSON can hold."""
        claim = self.claim
        about = {
            name: getattr(claim, name) for name in ("id", "paper", "link", "statement", "source", "scale", "checks")
        }
        figures = [{**vars(one), "keys": list(one.keys)} for one in self.figures]
        return {
            **about,
            "expression": claim.expression.text,
            "tolerance": claim.tolerance,
            "verdict": self.word,
            "share": self.share,
            "missing": self.missing,
            "figures": figures,
        }


def judge(claim: Claim, evidence: Evidence) -> Verdict:
    """Judge a claim.

    The claim is reproduced if it holds in at least 95 % of the bootstrap's draws, and contradicted if it holds in at
    most 5 % of them.
    """
    try:
        found = evidence.of(claim)
        values = {(name, part): values for name, one in found.items() for part, values in one.figures.items()}
        share = float(claim.expression.holds(values, claim.tolerance).mean())
    except ArbenchError as missing:
        return Verdict(claim, NOT_MEASURED, missing=str(missing))
    word = REPRODUCED if share >= CONFIDENCE else CONTRADICTED if share <= 1 - CONFIDENCE else UNDECIDED
    return Verdict(claim, word, tuple(_figures(claim, found, values)), share)


def _figures(claim: Claim, found: Mapping[str, Found], values: Mapping[tuple[str, str], Values]) -> Iterable[Figure]:
    for name, part in sorted(claim.expression.names):
        low, high = np.quantile(values[name, part], [0.025, 0.975]).tolist()
        middle = float(values[name, part].mean())
        yield Figure(f"{name}.{part}", middle, low, high, found[name].where, found[name].keys)


def in_words(verdicts: Iterable[Verdict]) -> str:
    """The verdicts as a table for a terminal, paper by paper, and how many claims have each verdict."""
    verdicts = list(verdicts)
    width = max((len(one.claim.id) for one in verdicts), default=0)
    lines, paper = [], ""
    for one in verdicts:
        if one.claim.paper != paper:
            paper = one.claim.paper
            lines += ["", f"{paper}  {one.claim.link}"]
        lines.append(f"  {one.word:<13} {one.claim.id:<{width}}  [{SCALES[one.claim.scale]}] {one.claim.statement}")
        lines.append(f"  {'':<13} {'':<{width}}  {one.claim.expression.text}: {one.reason}")
    counts = ", ".join(f"{sum(one.word == word for one in verdicts)} {word}" for word in WORDS)
    return "\n".join([*lines, "", f"{len(verdicts)} claims: {counts}"]).lstrip("\n")
