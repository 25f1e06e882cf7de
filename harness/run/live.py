"""A report that is written while its run goes on: ``arbench run --report DIR``.

``arbench report`` makes the pages in a separate process, since the harness does not import the reports.
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from harness.errors import ArbenchError

LEAST_S, MOST_S = 45.0, 150.0
"""Least and most seconds from one report to the next, as long as trials finish."""
SHARE = 15
"""The pause after a report is this many times as long as the writing of the report, so that reports cost only a few
percent of one core."""
NICE = 5
"""Priority of the report's process: it gives way to the processes that make images."""


class LiveReport:
    """Writes the report of a store to a folder, again and again, while a run goes on. The run decides when a report is
    written: never while it times trials, because a report would disturb timing."""

    def __init__(self, store: Path, out: Path) -> None:
        self._store, self._out = store, out
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._next = time.monotonic()
        self._shown: set[str] = set()

    def due(self) -> bool:
        """Whether a new report is due: there are new records to show, and the previous report is old enough."""
        if self._process is not None and self._process.poll() is not None:
            self._done()
        if self._process is not None or time.monotonic() < self._next:
            return False
        return self._records() != self._shown

    def start(self, note: str) -> None:
        """Start writing the report in the background, with a note at the top of its pages."""
        self._shown, self._began = self._records(), time.monotonic()
        log = self._store / "logs" / "report.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            places = ["--store", str(self._store), "--out", str(self._out)]
            # -P and arbench: modules of our names, here or on PYTHONPATH, must not be imported in place of ours.
            command = [sys.executable, "-P", "-m", "arbench", "report", *places]
            self._process = subprocess.Popen(
                [*command, *(["--note", note] if note else [])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICE)

    def write(self, note: str) -> None:
        """Write the report and wait until it is written.

        note: a text for the top of the pages. It is empty for the final report, after the run.

        Raises ArbenchError if the final report cannot be written. If an earlier report cannot be written, no error is
        raised.
        """
        if self._process is not None:
            self._process.wait()
        self.start(note)
        assert self._process is not None
        code = self._process.wait()
        self._done()
        if code and not note:
            lines = (self._store / "logs" / "report.log").read_text(encoding="utf-8", errors="replace").splitlines()
            raise ArbenchError(f"the report was not written: {(lines or ['no reason was given'])[-1]}")

    def stop(self) -> None:
        """Stop writing. The pages stay as they were."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _done(self) -> None:
        now = time.monotonic()
        self._process, self._next = None, now + min(max(LEAST_S, SHARE * (now - self._began)), MOST_S)

    def _records(self) -> set[str]:
        return {path.name for path in (self._store / "records").glob("[!.]*.json")}
