"""Claims as data.

A claim has a statement of a paper, a note where in the paper the statement is, and an expression over figures (numbers
such as FID). The expression is true if the statement is true.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ArbenchError, unknown
from harness.stages.figures import FIGURES, scores
from reports.claims.expression import Expression, parse

FOLDER = Path(__file__).parent

SCALES = {"paper": "at the paper's scale", "fmnist": "scaled down to preset fmnist"}
OPERANDS = {
    "trials": (*(figure.name for figure in FIGURES), "gmacs_tokens"),
    "models": ("params", "gmacs", "gmacs_tokens", "steps"),
    "published": ("params", "steps", "gflops", "fid", "is", "precision", "recall", "time"),
}
"""The kinds of things that a claim compares, and the numbers (such as FID) that each kind has.

trials: measured trials (their numbers are the columns of trials.csv)
models: what an architecture costs; no weights are needed
published: a row of reports/published.csv
"""
SELECTS = {
    "trials": ("method", "preset", "knobs", "sampling"),
    "models": ("method", "preset", "knobs", "sampling"),
    "published": ("model", "steps", "image_size", "provenance"),
}


@dataclass(frozen=True)
class Operand:
    """One of the things that a claim compares: measured trials, an architecture or a published row."""

    kind: str  # one of OPERANDS
    select: Mapping[str, Any]  # key of SELECTS -> value that the trial, model or published row must have


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, and how it is checked."""

    id: str
    paper: str
    link: str
    statement: str
    source: str  # where in the paper the statement is
    scale: str  # one of SCALES
    checks: str  # what exactly is checked here, if it is not the statement itself
    expression: Expression
    tolerance: float  # relative
    operands: Mapping[str, Operand]
    images: int = 0  # the least number of images that a trial must have
    extractor: str = ""  # the extractor of FID; "" for the extractor of most records

    @property
    def scored(self) -> bool:
        """Whether the expression contains a score, such as FID.

        Trials on random weights have no scores, so such a claim cannot use them.
        """
        return any(figure in {score.name for score in scores()} for _, figure in self.expression.names)


KEYS: Mapping[str, type | tuple[type, ...]] = {
    "id": str,
    "statement": str,
    "source": str,
    "scale": str,
    "expression": str,
    "checks": str,
    "tolerance": (int, float),
    "images": int,
    "extractor": str,
    "trials": dict,
    "models": dict,
    "published": dict,
}
NEEDED = ("id", "statement", "source", "scale", "expression")


def shipped() -> list[Claim]:
    """The claims that come with arbench, paper by paper."""
    return load(sorted(FOLDER.glob("*.toml")))


def load(paths: Iterable[Path]) -> list[Claim]:
    """Read claims from files. Raises ArbenchError that names the file, the claim and what is wrong."""
    found: dict[str, Claim] = {}
    for path in paths:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArbenchError(f"cannot read {path}: {error}") from error
        paper, link = content.get("paper"), content.get("link")
        if not isinstance(paper, str) or not isinstance(link, str) or not link.startswith("https://"):
            raise ArbenchError(f"{path}: paper (its name) and link (https://...) are needed")
        for place, given in enumerate(content.get("claims", []), 1):
            try:
                claim = _claim(paper, link, given)
            except ArbenchError as error:
                raise ArbenchError(f"{path}: claim {given.get('id', place)}: {error}") from error
            if claim.id in found:
                raise ArbenchError(f"{path}: claim {claim.id}: there are two of this id")
            found[claim.id] = claim
    return list(found.values())


def _claim(paper: str, link: str, given: Mapping[str, Any]) -> Claim:
    for name, value in given.items():
        if name not in KEYS:
            raise unknown("key", name, KEYS)
        if not isinstance(value, KEYS[name]) or isinstance(value, bool):
            raise ArbenchError(f"key {name!r} is {type(value).__name__}")
    if lacking := [name for name in NEEDED if not given.get(name)]:
        raise ArbenchError(f"key {lacking[0]!r} is missing")
    if not re.fullmatch(r"[a-z0-9-]+", given["id"]):
        raise ArbenchError("an id is made of small letters, digits and dashes")
    if given["scale"] not in SCALES:
        raise unknown("scale", given["scale"], SCALES)
    if not 0 <= given.get("tolerance", 0) < 1:
        raise ArbenchError(f"tolerance = {given['tolerance']} (valid: a relative one, from 0 to below 1)")
    expression, operands = parse(given["expression"]), _operands(given)
    _fit(expression, operands)
    return Claim(
        id=given["id"],
        paper=paper,
        link=link,
        statement=given["statement"],
        source=given["source"],
        scale=given["scale"],
        checks=given.get("checks", ""),
        expression=expression,
        tolerance=float(given.get("tolerance", 0)),
        operands=operands,
        images=given.get("images", 0),
        extractor=given.get("extractor", ""),
    )


def _operands(given: Mapping[str, Any]) -> dict[str, Operand]:
    found: dict[str, Operand] = {}
    for kind, valid in SELECTS.items():
        for name, select in given.get(kind, {}).items():
            if name in found:
                raise ArbenchError(f"{name!r} stands for two things")
            for key in select:
                if key not in valid:
                    raise unknown(f"key of {kind}.{name}", key, valid)
            if lacking := [key for key in valid[: 1 if kind == "published" else 2] if key not in select]:
                raise ArbenchError(f"{kind}.{name}: key {lacking[0]!r} is missing")
            found[name] = Operand(kind, select)
    return found


def _fit(expression: Expression, operands: Mapping[str, Operand]) -> None:
    for name, figure in sorted(expression.names):
        if name not in operands:
            raise unknown("name in the expression", name, operands)
        if figure not in OPERANDS[operands[name].kind]:
            raise unknown(f"figure of {operands[name].kind}", figure, OPERANDS[operands[name].kind])
    if idle := set(operands) - {name for name, _ in expression.names}:
        raise ArbenchError(f"{min(idle)!r} does not occur in the expression")
