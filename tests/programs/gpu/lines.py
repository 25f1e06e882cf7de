"""The lines of the table: what is promised of a GPU, what was measured, and whether the promise is held."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from textwrap import wrap
from typing import Any

HELD, MISSED, NOT_MEASURED, FAILED = "held", "MISSED", "not measured", "FAILED"
SEEN = "measured"
"""The verdict of a figure for which nothing is promised."""
REHEARSED = "rehearsal"
"""The verdict of every figure of a rehearsal, in which nothing is claimed."""
BAD = (MISSED, FAILED)
"""Verdicts with which the program ends with exit code 1."""
WIDTHS = (3, 50, 15, 42)
"""Characters of the table's columns: number, line, bound, figure. The verdict comes last."""


@dataclass(frozen=True)
class Bound:
    """What a figure has to keep to. One of ``least`` and ``most`` is None."""

    least: float | None = None
    most: float | None = None
    unit: str = ""  # "%": the figure is a share of 1, and shown in percent; else what follows the number

    def keeps(self, value: float) -> bool:
        """Whether a figure is within the bound."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        if self.least is not None:
            return f"at least {shown(self.least, self.unit)}"
        return "" if self.most is None else f"at most {shown(self.most, self.unit)}"


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    number: str  # of the acceptance line in the issue; "" if the figure belongs to none
    name: str
    bound: str
    figure: str
    verdict: str
    value: float | None = None  # the figure as a number


def judged(number: str, name: str, bound: Bound, value: float | None, words: str = "") -> Line:
    """The line of a figure that has a bound.

    value: None if the figure was not measured; ``words`` then says why.
    words: what stands behind the figure, such as its interval.
    """
    if value is None:
        return Line(number, name, str(bound), words, NOT_MEASURED)
    figure = " ".join(filter(None, [shown(value, bound.unit), words]))
    return Line(number, name, str(bound), figure, HELD if bound.keeps(value) else MISSED, value)


def seen(number: str, name: str, words: str, value: float | None = None) -> Line:
    """The line of a figure for which nothing is promised."""
    return Line(number, name, "", words, SEEN, value)


def failed(number: str, name: str, reason: str) -> Line:
    """The line of what broke while it was measured."""
    return Line(number, name, "", reason, FAILED)


def not_measured(number: str, name: str, reason: str) -> Line:
    """The line of what was not measured."""
    return Line(number, name, "", reason, NOT_MEASURED)


def rehearsed(lines: Sequence[Line]) -> list[Line]:
    """The same lines without a claim. What failed stays so."""
    return [replace(line, verdict=REHEARSED) if line.verdict in (HELD, MISSED, SEEN) else line for line in lines]


def exit_code(lines: Sequence[Line]) -> int:
    """1 if a line was missed or broke, 0 otherwise. What was not measured is no fault."""
    return int(any(line.verdict in BAD for line in lines))


def shown(value: float, unit: str = "") -> str:
    """A figure for the table."""
    if unit == "%":
        percent = 100 * value
        if 99 < percent < 100:  # must not look like all of them
            return f"{percent:.2f} %"
        return f"{percent:.3g} %"
    return f"{value:.3g}{f' {unit}' if unit else ''}"


def finite(value: Any) -> Any:
    """A copy of plain values for JSON, in which numbers that are not finite are None."""
    if isinstance(value, Mapping):
        return {str(name): finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def milliseconds(seconds: float, ends: Sequence[float] | None = None) -> str:
    """A time with its interval, such as ``24.1 ms [23.9, 24.3]``."""
    interval = "" if ends is None else f" [{', '.join(f'{1e3 * end:.3g}' for end in ends)}]"
    return f"{1e3 * seconds:.3g} ms{interval}"


def table(lines: Sequence[Line]) -> str:
    """The table, in lines of text."""
    rows = [("", "line", "bound", "figure", "verdict")]
    rows += [(line.number, line.name, line.bound, line.figure, line.verdict) for line in lines]
    text = []
    for row in rows:
        cells = [wrap(cell, width) or [""] for cell, width in zip(row, (*WIDTHS, 20), strict=True)]
        for place in range(max(map(len, cells))):
            parts = [cell[place] if place < len(cell) else "" for cell in cells]
            text.append("  ".join(f"{part:<{width}}" for part, width in zip(parts, (*WIDTHS, 0), strict=True)).rstrip())
    counts = Counter(line.verdict for line in lines)
    return "\n".join([*text, "", ", ".join(f"{count} {verdict}" for verdict, count in counts.items())])
