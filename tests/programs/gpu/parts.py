"""The parts of the program: what each measures, its share of the time, and how one runs. ``runs`` starts each part in a
process of its own; the module ``part`` is that process."""

import importlib
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from harness.errors import ArbenchError
from tests.programs.gpu.lines import Line, failed
from tests.programs.gpu.settings import Settings

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
    inception: Path | None = None  # weights of Inception
    seconds: float = 0.0  # the part's share of the time; it is ended when it takes ``limit``
    limit: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)  # all that was measured, as plain values, by part
    began: float = field(default_factory=time.monotonic)  # when the part's process was started

    @property
    def left(self) -> float:
        """Seconds until the part is ended."""
        return self.limit - (time.monotonic() - self.began)


@dataclass(frozen=True)
class Part:
    """A part of the program."""

    name: str
    number: str  # of the acceptance line
    what: str  # what it measures, in words
    weight: float  # its share of the time, relative to the others
    run: str  # MODULE:FUNCTION; the function takes a Bench and gives lines. Lines that it has given stay, if it breaks

    def function(self) -> Callable[[Bench], Iterable[Line]]:
        """What runs the part."""
        module, _, name = self.run.partition(":")
        found: Callable[[Bench], Iterable[Line]] = getattr(importlib.import_module(module), name)
        return found


def _part(name: str, number: str, what: str, weight: float, function: str = "run", module: str = "") -> Part:
    return Part(name, number, what, weight, f"tests.programs.gpu.{module or name}:{function}")


PARTS = (
    _part("graphs", "1", "a graph's life: captured, dropped, captured again", 2),
    _part("speed", "1, 2", "captured latency and throughput, share of the floor", 9),
    _part("sparse", "5", "the time of ActVAR and of static pruning, of VAR's", 9),
    _part("same", "3", "the same images however a trial is cut", 8),
    _part("cpu", "3", "the same images and scores on CPU and GPU", 3, "images", "agree"),
    _part("inception", "4", "Inception's features on CPU and GPU", 1.2, "inception", "agree"),
    _part("draws", "7", "large draws of tokens", 1),
    _part("compiled", "1", "LlamaGen's step by torch.compile", 2),
    _part("official", "1", "the authors' code beside ours", 12),
)
"""The parts, in the order in which they are run."""
NAMES = tuple(part.name for part in PARTS)


def attempt(part: Part, bench: Bench) -> Iterator[Line]:
    """The lines of a part, as they come. A part that breaks, or takes ``bench.limit`` seconds, ends with a line that
    says so. Only for the main thread.
    """
    try:
        with _within(bench.left):
            yield from part.function()(bench)
    except OutOfTimeError:
        yield failed(part.number, part.what, out_of_time(bench.limit))
    except (Exception, SystemExit) as error:
        yield broke(bench, part.number, part.what, error)


def out_of_time(seconds: float) -> str:
    """Says that something took so long that it was ended."""
    return f"not done after {seconds:.3g} s"


def broke(bench: Bench, number: str, what: str, error: BaseException) -> Line:
    """The line of what broke. Its traceback goes to the progress."""
    bench.tell("".join(traceback.format_exception(error)))
    known = isinstance(error, ArbenchError | SystemExit)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    return failed(number, what, " ".join(reason.split())[:LONGEST])


def thinned(tell: Callable[[str], None], seconds: float = 10.0) -> Callable[[str], None]:
    """The same, for a stage that says something every round: passes on at most one line in so many seconds."""
    last = -seconds

    def some(line: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            tell(line)

    return some


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
