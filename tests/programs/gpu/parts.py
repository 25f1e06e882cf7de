"""Runs the parts of the program one after the other. Each has its share of the time, and one that breaks or takes too
long does not cost the others theirs."""

import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from harness.errors import ArbenchError
from tests.programs.gpu.lines import Line, failed, not_measured
from tests.programs.gpu.settings import Settings

Clock = Callable[[], float]
OVERTIME = 2.0
"""A part is ended when it has taken so many times its share of the time, or when no time is left."""

LONGEST = 300
"""Characters of a reason in the table."""


class OutOfTimeError(BaseException):
    """A part has used up its time. It is no Exception, so that a stage does not take it for a fault of a method."""


@dataclass
class Bench:
    """What every part is given."""

    device: torch.device
    settings: Settings
    folder: Path  # for files that are not kept
    tell: Callable[[str], None]  # prints a line of progress
    official: Path | None = None  # folder of the authors' checkouts
    packages: Path | None = None  # folder of packages that the authors' code needs
    inception: Path | None = None  # weights of Inception
    seconds: float = 0.0  # the share of the time of the part that runs
    figures: dict[str, Any] = field(default_factory=dict)  # all that was measured, as plain values, by part


@dataclass(frozen=True)
class Part:
    """A part of the program."""

    name: str
    number: str  # of the acceptance line
    what: str  # what it measures, in words
    weight: float  # its share of the time, relative to the others
    run: Callable[[Bench], Iterable[Line]]  # lines that it has given stay, even if it breaks later
    least: float = 5.0  # seconds without which it is not begun


def run(parts: Sequence[Part], bench: Bench, seconds: float, clock: Clock = time.monotonic) -> Iterator[list[Line]]:
    """Runs the parts. Yields the lines of each, as soon as it is done.

    seconds: for all parts together. What a part leaves over, the later ones have.
    """
    ends = clock() + seconds
    for place, part in enumerate(parts):
        left = ends - clock()
        bench.seconds = max(0.0, left) * part.weight / sum(one.weight for one in parts[place:])
        if left < part.least:
            yield [not_measured(part.number, part.what, f"no time was left ({seconds / 60:.3g} minutes in all)")]
            continue
        bench.tell(f"{part.name}: {part.what}; {bench.seconds:.0f} s of {left:.0f} s")
        began = clock()
        lines = _attempt(part, bench, min(left, OVERTIME * bench.seconds))
        bench.tell(f"{part.name}: done after {clock() - began:.0f} s")
        yield lines


def _attempt(part: Part, bench: Bench, limit: float) -> list[Line]:
    lines: list[Line] = []
    try:
        with _within(limit):
            for line in part.run(bench):
                lines.append(line)
    except OutOfTimeError:
        lines.append(not_measured(part.number, part.what, f"not done after {limit:.3g} s"))
    except (Exception, SystemExit) as error:  # one part's fault must not cost the others their results
        lines.append(broke(bench, part.number, part.what, error))
    return lines


def broke(bench: Bench, number: str, what: str, error: BaseException) -> Line:
    """The line of what broke. Its traceback goes to the progress."""
    bench.tell("".join(traceback.format_exception(error)))
    known = isinstance(error, ArbenchError | SystemExit)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    return failed(number, what, " ".join(reason.split())[:LONGEST])


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raises OutOfTimeError inside the ``with`` when the time is up. Only for the main thread."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
