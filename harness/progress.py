"""Progress for people: a bar on a terminal, plain lines elsewhere.

The bar is tqdm's, not rich's: torch-fidelity installs tqdm anyway, and we draw only one bar.
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

EVERY_S = 10.0
"""Seconds between two lines if there is no terminal to show a bar."""


class Progress:
    """A display of progress. It shows how many units of work are done, which share of the total they are, the rate, and
    the time left."""

    def __init__(self, total: int, unit: str, stream: TextIO | None = None, every: float = EVERY_S) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self._stream = stream or sys.stderr
        self._every, self._began = every, time.monotonic()
        self._told = self._began
        shown = total and self._stream.isatty()  # a total of 0 gives no bar
        self._bar = tqdm(total=total, unit=unit, file=self._stream, smoothing=0.1) if shown else None

    def advance(self, count: int, doing: str = "") -> None:
        """Count ``count`` more units as done. ``doing`` names the present work."""
        self.done += count
        if self._bar is not None:
            self._bar.set_description_str(doing, refresh=False)
            self._bar.update(count)
            return
        now = time.monotonic()
        line = self._line(now, doing)
        if line and (now - self._told >= self._every or (self.done == self.total and count)):
            self._told = now
            self.say(line)

    def reduce(self, count: int) -> None:
        """Lower the total by ``count`` units because these units will never be done."""
        self.total -= count
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.refresh()

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar is not None:
            tqdm.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Close the bar and leave the terminal in order."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, now: float, doing: str) -> str:
        """The line to print now: the units done, the rate, the time left, and the present work. The rate and the time
        left are omitted until they are known. If there is no total, the line is the present work alone."""
        seconds, text = now - self._began, ""
        if self.total:
            text = f"{self.done}/{counted(self.total, self.unit.removesuffix('s'))}"
        if self.total and self.done and seconds > 0:
            rate = self.done / seconds
            text += f", {rate:.1f} {self.unit}/s, {clock((self.total - self.done) / rate)} left"
        return "  ".join(part for part in (text, doing) if part)


def narrated(stream: TextIO | None = None, every: float = EVERY_S) -> Callable[[str], Callable[[float], None]]:
    """Prints the progress of long computations that run one after another.

    ``narrated`` returns a function ``begin``. Calling ``begin`` with the name of a computation starts the clock and
    returns a function ``tell``. The computation calls ``tell`` with the share of its work that is done, from 0 to 1.
    """
    say = throttled(lambda line: print(line, file=stream or sys.stderr, flush=True), every)

    def begin(what: str) -> Callable[[float], None]:
        began = time.monotonic()

        def tell(share: float) -> None:
            spent = time.monotonic() - began
            left = f", {clock(spent * (1 - share) / share)} left" if share > 0 else ""
            say(f"{what}: {share:.0%}{left}")

        return tell

    return begin


def throttled(say: Callable[[str], None], every: float = EVERY_S) -> Callable[[str], None]:
    """A function that passes a line on to ``say`` at most once in ``every`` seconds. Lines in between are dropped."""
    told = float("-inf")

    def tell(line: str) -> None:
        nonlocal told
        if time.monotonic() - told >= every:
            told = time.monotonic()
            say(line)

    return tell


def counted(count: int, noun: str) -> str:
    """A number and its noun, which gets an s unless the number is 1: ``1 trial``, ``2 trials``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def clock(seconds: float) -> str:
    """A length of time as people read it: 4:05, 1:04:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
