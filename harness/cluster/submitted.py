"""Submissions of tasks to a scheduler. Each submission has a folder under STORE/cluster. The folder is written before
the scheduler is asked to accept the submission. It holds these files:

tasks.json      the ids of each task's jobs; the driver (the process that submits tasks); a hash of the driver's code
submitted.json  the name that the scheduler has given the submission, once the name is known
parallel.json   how many tasks may run at once, if the number was changed after the submission
task-N.jsonl    the events that task N reports, one per line; only task N writes it
ended-N.json    what a driver found out about task N's end
cancelled       exists if `arbench cancel` has ended the submission
*_log.out, *.pkl, *.sh  submitit's files

STORE/cluster/cancelled.json tells all drivers that `arbench cancel` was called. `arbench cancel` writes this file even
if no submission is active at that moment.
"""

import contextlib
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import ArbenchError
from harness.machine.children import lives

Event = dict[str, Any]
LOG_BYTES = 20_000


@dataclass(frozen=True)
class Submission:
    """Tasks that were submitted together."""

    id: str  # unique
    stage: str
    tasks: tuple[tuple[str, ...], ...]  # ids of the jobs of each task
    parallel: int  # how many tasks may run at once, 0 for all
    submitted: float  # seconds since 1970
    driver: str  # the driver's name: host and process id
    code: str  # sha256 of the driver's code
    folder: Path
    records: bool = False  # whether its tasks write records, because no driver waits to do so
    scheduler: str = "slurm"  # name of the scheduler; earlier versions knew only Slurm and wrote no name

    @property
    def number(self) -> str | None:
        """The name that the scheduler has given the submission, such as Slurm's number of an array. None if the name
        is not known."""
        found = files.read_json(self.folder / "submitted.json")
        return None if found is None else found["job"]

    def accepted(self, number: str) -> None:
        """Write down the name that the scheduler has given the submission."""
        files.write_json(self.folder / "submitted.json", {"job": number})

    @cached_property
    def user(self) -> int:
        """The numeric id of the user who made the submission. If the folder is gone: the id of this process's user."""
        try:
            return self.folder.stat().st_uid
        except OSError:
            return os.getuid()

    def begun(self, index: int) -> bool:
        """Whether a task has been started. This is known only for a scheduler that makes a folder for each task when
        the task starts (``--cluster local``). For a scheduler that makes no such folders, the answer is always False.
        """
        return (self.folder / str(index)).exists()

    def held(self) -> list[int]:
        """Indices of the tasks that wait to be started by another process on this machine.

        Some schedulers start tasks from the process that made the submission. With such a scheduler, the tasks that
        have not begun wait in that process. The list is empty if that process does not run any more, is on another
        machine, or is this process.
        """
        host, _, process = self.driver.rpartition(":")
        there = host == platform.node() and int(process) != os.getpid() and lives(int(process), self.submitted)
        return [index for index in range(len(self.tasks)) if there and not self.begun(index)]

    def job(self, index: int) -> str | None:
        """The name that the scheduler has given a task; None if the name is not known. If the submission has only one
        task, the name of the submission is also the name of the task."""
        number = self.number
        return number if number is None or len(self.tasks) == 1 else f"{number}_{index}"

    @property
    def cancelled(self) -> bool:
        """Whether `arbench cancel` has ended the submission."""
        return (self.folder / "cancelled").exists()

    @property
    def parallel_now(self) -> int:
        """How many tasks may run side by side from now on. 0 means no limit."""
        found = files.read_json(self.folder / "parallel.json")
        return self.parallel if found is None else int(found["parallel"])

    def allow(self, parallel: int) -> None:
        """Write down how many tasks may run at once from now on, 0 for all."""
        files.write_json(self.folder / "parallel.json", {"parallel": parallel})

    def events_file(self, index: int) -> Path:
        """The file of a task's events."""
        return self.folder / f"task-{index}.jsonl"

    def events(self, index: int) -> list[Event]:
        """The events of a task. A line cut off by a kill is left out."""
        try:
            lines = self.events_file(index).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def tell(self, index: int, event: str, **about: Any) -> None:
        """Add an event to a task's file. Raises ArbenchError if the file cannot be written."""
        path = self.events_file(index)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"event": event, "at": time.time(), **about}) + "\n")
        except OSError as error:
            raise ArbenchError(f"cannot write {path}: {error.strerror or error}") from error

    def log(self, index: int) -> str:
        """The end of what a task has printed."""
        own = re.compile(rf"\d+(_{index})?_0_log\.out")
        alone = self.folder / str(index)  # of schedulers that give each task a folder of its own
        for path in [*alone.glob("*_log.out"), *self.folder.glob("*_log.out")]:
            if path.parent == alone or own.fullmatch(path.name):
                with contextlib.suppress(OSError), path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - LOG_BYTES))
                    return file.read().decode(errors="replace")
        return ""


class Submissions:
    """All submissions to a store. Each submission's tasks.json is read only once, because it never changes."""

    def __init__(self, store: Path) -> None:
        self.folder = store / "cluster"
        self._known: dict[str, Submission] = {}

    def all(self) -> list[Submission]:
        """All submissions, oldest first."""
        for path in self.folder.glob("*/tasks.json"):
            if path.parent.name not in self._known and (content := files.read_json(path)) is not None:
                content["tasks"] = tuple(tuple(task) for task in content["tasks"])
                self._known[path.parent.name] = Submission(**content, folder=path.parent)
        return sorted(self._known.values(), key=lambda one: (one.submitted, one.id))

    def new(
        self,
        stage: str,
        tasks: Sequence[Sequence[str]],
        parallel: int,
        code: str,
        records: bool = False,
        scheduler: str = "slurm",
    ) -> Submission:
        """Make the folder of a submission."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        frozen = tuple(tuple(task) for task in tasks)
        at, folder = time.time(), self.folder / name
        made = Submission(name, stage, frozen, parallel, at, driver(), code, folder, records, scheduler)
        content = {field: value for field, value in asdict(made).items() if field != "folder"}
        files.write_json(made.folder / "tasks.json", content)
        self._known[name] = made
        return made

    def cancel(self) -> None:
        """Tell all drivers that work on the store to end."""
        files.write_json(self.folder / "cancelled.json", {"at": time.time(), "call": secrets.token_hex(8)})

    def cancels(self) -> str:
        """A text that each call of ``cancel`` replaces by a new text; empty before the first call. The new text tells a
        driver that ``cancel`` was called."""
        found = files.read_json(self.folder / "cancelled.json")
        return "" if found is None else str(found["call"])

    def forget(self, made: Submission) -> None:
        """Remove a submission that the scheduler has refused."""
        del self._known[made.id]
        shutil.rmtree(made.folder, ignore_errors=True)


def driver() -> str:
    """The name of this process: ``HOST:PID``. HOST is the name of the machine, and PID is the process id.

    When this process submits tasks, this process is the driver of the tasks. tasks.json then holds this name.
    """
    return f"{platform.node()}:{os.getpid()}"


def since_start(events: Sequence[Mapping[str, Any]]) -> list[Event] | None:
    """The events of a task since the task was most recently started; None if the task has never been started."""
    starts = [place for place, event in enumerate(events) if event["event"] == "start"]
    return [dict(event) for event in events[starts[-1] + 1 :]] if starts else None
