"""The lines of the table: what is promised of a GPU, what was measured, and whether the promise is held."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

HELD, MISSED, NOT_MEASURED, FAILED = "held", "MISSED", "not measured", "FAILED"
SEEN = "measured"
"""The verdict of a figure for which nothing is promised."""
REHEARSED = "rehearsal"
"""The verdict of every figure of a rehearsal, in which nothing is claimed."""
BAD = (MISSED, FAILED)
"""Verdicts with which the program ends with exit code 1."""
BOUNDS_OF = "H100"
"""The GPU of which times and floors are promised."""
MOST = 11_500
"""Characters of the table at most. A borrowed machine gives back the last 12,000 that a program prints."""


@dataclass(frozen=True)
class Bound:
    """What a figure has to keep to. One of ``least`` and ``most`` is None."""

    least: float | None = None
    most: float | None = None
    unit: str = ""  # "%": the figure is a share of 1, and shown in percent; else what follows the number
    timed: bool = False  # whether it is a bound of time or of the floor, which is promised of one GPU only (BOUNDS_OF)

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
    timed: bool = False  # as the bound's


def judged(number: str, name: str, bound: Bound, value: float | None, words: str = "") -> Line:
    """The line of a figure that has a bound.

    value: None if there is no figure, which is a fault; ``words`` then says why.
    words: what stands behind the figure, such as its interval.
    """
    if value is None:
        return Line(number, name, str(bound), words, FAILED)
    figure = " ".join(filter(None, [shown(value, bound.unit), words]))
    return Line(number, name, str(bound), figure, HELD if bound.keeps(value) else MISSED, value, bound.timed)


def seen(number: str, name: str, words: str, value: float | None = None) -> Line:
    """The line of a figure for which nothing is promised."""
    return Line(number, name, "", words, SEEN, value)


def failed(number: str, name: str, reason: str) -> Line:
    """The line of what broke while it was measured."""
    return Line(number, name, "", reason, FAILED)


def not_measured(number: str, name: str, reason: str) -> Line:
    """The line of what was not measured because a package or a checkout is missing, or does not work. All else that
    gives no figure is a fault (``failed``): with too little time nothing would be measured, and nothing missed."""
    return Line(number, name, "", reason, NOT_MEASURED)


def rehearsed(line: Line) -> Line:
    """The same line without a claim. What failed stays so."""
    return replace(line, verdict=REHEARSED) if line.verdict in (HELD, MISSED, SEEN) else line


def elsewhere(line: Line, gpu: str | None) -> Line:
    """The same line on a GPU of this name: on another than the one of which times are promised, they are shown with
    their bounds and not judged."""
    if gpu is None or BOUNDS_OF in gpu or not line.timed:
        return line
    return replace(line, verdict=SEEN if line.verdict in (HELD, MISSED) else line.verdict)


def exit_code(lines: Sequence[Line]) -> int:
    """1 if a line was missed or broke, or if no line has a figure; 0 otherwise. A line that was not measured, because a
    package or a checkout is missing, is no fault."""
    return int(any(line.verdict in BAD for line in lines) or all(line.verdict == NOT_MEASURED for line in lines))


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


def table(lines: Sequence[Line], gpu: str | None = None) -> str:
    """The table, in lines of text, of at most MOST characters: long figures and reasons are cut short if they have to
    be.

    gpu: the GPU's name, if there is one
    """
    for most in (400, 200, 120, 80, 50, 20):
        text = _text(lines, gpu, most)
        if len(text) <= MOST:
            break
    return text


def _text(lines: Sequence[Line], gpu: str | None, most: int) -> str:
    head = "Verdict, number of the promise, what: figure (bound)."
    if gpu is not None and BOUNDS_OF not in gpu:
        head += f" Bounds of times and floors are those of an {BOUNDS_OF}; on this {gpu} they are not judged."
    text = [head]
    for line in lines:
        figure = line.figure if len(line.figure) <= most else f"{line.figure[: most - 3]}..."
        bound = f" ({line.bound})" if line.bound else ""
        text.append(f"{line.verdict:<12} {line.number:<4} {line.name}: {figure}{bound}".rstrip())
    counts = Counter(line.verdict for line in lines)
    return "\n".join([*text, "", ", ".join(f"{count} {verdict}" for verdict, count in counts.items())])
