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
        shown = total and self._stream.isatty()  # a bar of nothing has no length
        self._bar = tqdm(total=total, unit=unit, file=self._stream, smoothing=0.1) if shown else None

    def advance(self, count: int, doing: str = "") -> None:
        """``count`` more units are done; ``doing`` is what is at hand."""
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
        """What is told now. Where there are no units to count, only what is at hand; a rate as soon as there is one."""
        seconds, text = now - self._began, ""
        if self.total:
            text = f"{self.done}/{counted(self.total, self.unit.removesuffix('s'))}"
        if self.total and self.done and seconds > 0:
            rate = self.done / seconds
            text += f", {rate:.1f} {self.unit}/s, {clock((self.total - self.done) / rate)} left"
        return "  ".join(part for part in (text, doing) if part)


def narrated(stream: TextIO | None = None, every: float = EVERY_S) -> Callable[[str], Callable[[float], None]]:
    """Progress of long computations, one after another: given what is computed, who is told the share that is done."""
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
    """``say``, but at most once in ``every`` seconds: what comes in between is left out."""
    told = float("-inf")

    def tell(line: str) -> None:
        nonlocal told
        if time.monotonic() - told >= every:
            told = time.monotonic()
            say(line)

    return tell


def counted(count: int, noun: str) -> str:
    """``1 trial``, ``2 trials``: a number with its noun, whose plural takes an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def clock(seconds: float) -> str:
    """A length of time as people read it: 4:05, 1:04:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
