"""Progress for people: a bar on a terminal, plain lines elsewhere.

The bar is tqdm's and not rich's: torch-fidelity brings tqdm anyway, and one bar is all that is drawn.
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

EVERY_S = 10.0
"""Seconds between two lines where no terminal shows a bar."""


class Progress:
    """Counts units of work against a total, and tells rate and time left."""

    def __init__(self, total: int, unit: str, stream: TextIO | None = None, every: float = EVERY_S) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self._stream = stream or sys.stderr
        self._every, self._began = every, time.monotonic()
        self._told = self._began
        self._bar = tqdm(total=total, unit=unit, file=self._stream, smoothing=0.1) if self._stream.isatty() else None

    def advance(self, count: int, doing: str = "") -> None:
        """``count`` more units are done; ``doing`` is what is at hand."""
        self.done += count
        if self._bar is not None:
            self._bar.set_description_str(doing, refresh=False)
            self._bar.update(count)
            return
        now = time.monotonic()
        if now - self._told >= self._every or (self.done == self.total and count):
            self._told = now
            self.say(self._line(now, doing))

    def reduce(self, count: int) -> None:
        """``count`` units will never be done."""
        self.total -= count
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.refresh()

    def say(self, line: str) -> None:
        """A line of its own, above the bar if there is one."""
        if self._bar is not None:
            tqdm.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the terminal in order."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, now: float, doing: str) -> str:
        rate = self.done / max(now - self._began, 1e-9)
        left = (self.total - self.done) / rate if rate else float("inf")
        text = f"{self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s, {clock(left)} left"
        return f"{text}  {doing}" if doing else text


def narrated(stream: TextIO | None = None, every: float = EVERY_S) -> Callable[[str], Callable[[float], None]]:
    """Progress of long computations, one after another: given what is computed, who is told the share that is done."""
    say = throttled(lambda line: print(line, file=stream or sys.stderr, flush=True), every)

    def begin(what: str) -> Callable[[float], None]:
        began = time.monotonic()

        def tell(share: float) -> None:
            left = (time.monotonic() - began) * (1 - share) / max(share, 1e-9)
            say(f"{what}: {share:.0%}, {clock(left)} left")

        return tell

    return begin


def throttled(say: Callable[[str], None], every: float = EVERY_S) -> Callable[[str], None]:
    """``say``, but at most once in ``every`` seconds: what comes in between is left out."""
    told = float("-inf")

    def tell(line: str) -> None:
        nonlocal told
        if time.monotonic() - told >= every:
            told = time.monotonic()
            say(line)

    return tell


def clock(seconds: float) -> str:
    """A length of time as people read it: 4:05, 1:04:05."""
    if seconds == float("inf"):
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
