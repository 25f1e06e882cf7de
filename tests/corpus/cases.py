"""A case: a file and the command that is given it; and what may come of it."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A command with a damaged or odd file."""

    kind: str  # of the file: npz, png...
    what: str  # is odd about it
    command: Sequence[str]


Make = Callable[[random.Random, Path, "Valid"], Case]
"""Puts the files of a case into an empty folder."""


@dataclass(frozen=True)
class Valid:
    """Valid files, which cases are made from and run beside."""

    folder: Path
    contents: dict[str, bytes] = field(default_factory=dict)  # by the name of what they are


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int | None  # None: it raised, crashed or hung
    lines: tuple[str, ...] = ()  # of standard error
    fault: str = ""  # the traceback's last line, or how the process ended
    changed: tuple[str, ...] = ()  # files and folders that are new, changed or gone
    refused: bool = False  # by the reader that is known for files of this kind

    @property
    def verdict(self) -> str:
        """One of VERDICTS."""
        if self.fault:
            return self.fault.split(":")[0] if self.fault.split(":")[0] in VERDICTS else "traceback"
        told = [line for line in self.lines if line.startswith("arbench: ") and not line.startswith(LEFT_OUT)]
        rest = [line for line in self.lines if not line.startswith("arbench: ") and not PROGRESS.search(line)]
        if rest:
            return "other lines"
        if self.code in (0, 1):
            return "other lines" if told else "accepted" if self.refused else "right"
        if self.changed:
            return "wrote"
        return "one line" if self.code == 2 and len(told) == 1 and len(told[0]) < LONGEST else "other lines"


VERDICTS = ("right", "one line", "accepted", "other lines", "wrote", "traceback", "hung", "crashed", "bomb")
GOOD = VERDICTS[:2]
LEFT_OUT = "arbench: left out: "
"""How a line begins that names a damaged record, after which the command goes on with the others."""
LONGEST = 1000
"""Characters of a line that is still clear."""
PROGRESS = re.compile(r"^\d+/\d+ \w+, .* left|^(reference|samples|resampling|FID|pairs|notes?|leaderboard)\b.*", re.I)
"""Lines that tell how far a command is, or what it has noticed."""
