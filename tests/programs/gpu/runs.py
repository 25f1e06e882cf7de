"""Runs the parts of the program one after the other, each in a process of its own.

The processes share no CUDA context: a CUDA error that spoils all later work of a process, a crash, or a part that takes
too long does not cost the other parts theirs. This process does not use CUDA.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.programs.gpu.known import ROOT
from tests.programs.gpu.lines import Line, failed
from tests.programs.gpu.part import Order
from tests.programs.gpu.parts import Part, out_of_time

OVERTIME, LEAST_LIMIT_S = 2.0, 60.0
"""A part is ended when it has taken so many times its share of the time, but not before it has taken so many seconds.
It is also ended when no time is left."""
GRACE_S = 8.0
"""A process that has not ended itself so many seconds after its time was up is killed. So is one that does not end
when it is done."""
LEAST_S = 5.0
"""Without so many seconds a part is not begun."""
POLL_S = 0.1

Run = Callable[[Part, float, float], Iterator[Line]]
"""Runs a part: its share of the time, the seconds after which it is ended -> its lines."""


def run(parts: Sequence[Part], attempt: Run, seconds: Callable[[], float]) -> Generator[Line]:
    """Runs the parts. Yields each line as soon as it is there.

    attempt: runs one part
    seconds: that are left for all parts together, now. What a part leaves over, the later ones have.
    """
    for place, part in enumerate(parts):
        left = seconds()
        share = max(0.0, left) * part.weight / sum(one.weight for one in parts[place:])
        if left < LEAST_S:
            yield failed(part.number, part.what, "not begun: no time was left (--minutes)")
            continue
        yield from attempt(part, share, min(left, max(OVERTIME * share, LEAST_LIMIT_S)))


@dataclass
class Processes:
    """Runs parts as processes, and keeps what they have found."""

    device: str
    fake: bool
    folder: Path  # for files that are not kept
    tell: Callable[[str], None]
    since: float  # when the program began, by time.monotonic()
    official: Path | None = None
    inception: Path | None = None
    about: dict[str, Any] = field(default_factory=dict)  # what the parts run on
    figures: dict[str, Any] = field(default_factory=dict)  # of the parts that have run
    grace: float = GRACE_S

    def __call__(self, part: Part, share: float, limit: float) -> Iterator[Line]:
        """Run a part. Yields its lines; the last one says so if the process crashed or had to be killed.

        share: seconds that the part is to take; limit: seconds after which it is ended
        """
        self.tell(f"{part.name}: {part.what}; {share:.0f} s")
        began = time.monotonic()
        order, file = self.folder / f"{part.name}.order", self.folder / f"{part.name}.jsonl"
        Order(
            part=asdict(part),
            device=self.device,
            fake=self.fake,
            folder=str(self.folder),
            official=None if self.official is None else str(self.official.resolve()),
            inception=None if self.inception is None else str(self.inception.resolve()),
            seconds=share,
            limit=limit,
            began=began,
            since=self.since,
            figures=self.figures,
        ).written(order)
        file.touch()
        command = [sys.executable, "-m", "tests.programs.gpu.part", str(order), str(file)]
        # In a session of its own, so that all of its processes can be ended with it.
        with file.open(encoding="utf-8") as found, _session(command) as process:
            done = False
            ends = began + limit + self.grace
            while True:
                code = process.poll()  # before reading: what a process wrote before it ended is read
                for kind, value in _messages(found):
                    if kind == "line":
                        yield Line(**value)
                    elif kind == "about":
                        self.about = self.about or value
                    elif kind == "figures" and value is not None:
                        self.figures[part.name] = value
                    elif kind == "done":
                        done, ends = True, time.monotonic() + self.grace
                if code is not None or time.monotonic() > ends:
                    break
                time.sleep(POLL_S)
        if why := _fault(code, done, limit):
            yield failed(part.number, part.what, why)
        self.tell(f"{part.name}: done after {time.monotonic() - began:.0f} s")


def _fault(code: int | None, done: bool, limit: float) -> str:
    """Why a process has not run well; empty if it has. code: its exit code; None if it had to be killed"""
    if code == 0 and done:
        return ""
    after = ", after its last line" if done else ""
    if code is None:
        return f"its process did not end{after}" if done else f"{out_of_time(limit)}, and did not end by itself"
    ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"its process crashed: {ended}{after}"


@contextlib.contextmanager
def _session(command: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    """A process, in a session of its own. On leaving, all processes of its group are killed."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _messages(file: Any) -> Iterator[tuple[str, Any]]:
    """The whole lines that have been added to a file. The file is then at the end of the last whole line."""
    while True:
        place = file.tell()
        line = file.readline()
        if not line.endswith("\n"):
            file.seek(place)
            return
        yield from json.loads(line).items()
