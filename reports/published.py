"""Figures (numbers, such as FID) that papers, READMEs and users have published.

Published figures come from other protocols and devices, and often FID was computed differently, too. Published figures
are therefore never mixed with figures that were measured here. Published rows have a separate type, and pages draw them
with hollow markers. Each published row names its source.

``disagreements`` finds checkpoints for which different FIDs were published, although sampling was alike.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import ArbenchError, unknown

FILE = Path(__file__).parent / "published.csv"
PROVENANCES = {
    "paper": "the authors' paper",
    "repository": "the authors' repository",
    "issue": "a user's rerun, in an issue thread",
    "secondary": "quoted by others; the origin was not seen",
}


@dataclass(frozen=True)
class PublishedRow:
    """One row of numbers, as a source published it. A number is None if the source does not give it."""

    method: str  # as the source names it
    model: str  # as the source names it
    checkpoint: str  # the file of weights, "" if unknown
    params: float | None  # in millions
    steps: str  # as the source says it, a number or words
    gflops: float | None
    flops_note: str  # what ``gflops`` means
    fid: float | None  # against ImageNet, by Inception
    is_: float | None
    precision: float | None
    recall: float | None
    time: float | None
    time_note: str  # what ``time`` means
    sampling: str  # in the source's words
    image_size: int  # pixels per side
    provenance: str  # one of PROVENANCES
    source: str  # where the row was published

    def figure(self, name: str) -> float | None:
        """The number that has this name in claims and pages; None if the source does not give it.

        The name of the Inception Score is ``is``, but its field is ``is_``, as Python reserves the word ``is``. The
        number of steps, ``steps``, is returned only if the source gives a single number.
        """
        if name == "steps":
            return float(self.steps) if self.steps.isdecimal() else None
        value: float | None = getattr(self, "is_" if name == "is" else name)
        return value


@dataclass(frozen=True)
class Disagreement:
    """A checkpoint for which different FIDs are published.

    FIDs without guidance and FIDs with guidance are never mixed. A checkpoint can therefore have two disagreements, one
    without guidance and one with guidance.
    """

    checkpoint: str
    low: float  # the least FID
    high: float  # the greatest FID
    rows: tuple[PublishedRow, ...]


@cache
def published(path: Path = FILE) -> tuple[PublishedRow, ...]:
    """All published rows. Raises ArbenchError that names the file, the line and what is wrong with it."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(_row(f"{path}, row {place}", given) for place, given in enumerate(csv.DictReader(file), 1))
    except (OSError, ValueError, csv.Error) as error:
        raise ArbenchError(f"cannot read {path}: {error}") from error


def disagreements(rows: Iterable[PublishedRow]) -> list[Disagreement]:
    """Find the checkpoints for which different FIDs are published.

    The rows of a checkpoint are put into two groups. One group has the rows with sampling ``none``: their sources state
    that guidance was off. The other group has all other rows. FIDs are compared only within a group.
    """
    groups: dict[tuple[str, bool], list[PublishedRow]] = {}
    for row in rows:
        if row.checkpoint and row.fid is not None:
            groups.setdefault((row.checkpoint, row.sampling == "none"), []).append(row)
    found = []
    for (checkpoint, _), group in groups.items():
        fids = [row.fid for row in group if row.fid is not None]
        if min(fids) < max(fids):
            found.append(Disagreement(checkpoint, min(fids), max(fids), tuple(group)))
    return found


def _row(where: str, given: Mapping[str, str]) -> PublishedRow:
    def number(name: str) -> float | None:
        return float(given[name]) if given[name] else None

    if given["provenance"] not in PROVENANCES:
        raise ArbenchError(f"{where}: {unknown('provenance', given['provenance'], PROVENANCES)}")
    if not given["source"]:
        raise ArbenchError(f"{where}: a published row has a source")
    return PublishedRow(
        method=given["method"],
        model=given["model"],
        checkpoint=given["checkpoint"],
        params=number("params_M"),
        steps=given["steps"],
        gflops=number("gflops"),
        flops_note=given["flops_note"],
        fid=number("fid"),
        is_=number("is"),
        precision=number("precision"),
        recall=number("recall"),
        time=number("time"),
        time_note=given["time_note"],
        sampling=given["sampling"],
        image_size=int(given["image_size"]),
        provenance=given["provenance"],
        source=given["source"],
    )
