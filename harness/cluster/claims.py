"""Claims and faults: what the tasks of a cluster tell each other through a trial's work folder, without locks.

A claim is a file made when a task begins a job, touched while it is at it, and removed when it is done. It keeps two
tasks from doing the same shard, as well as a shared file system lets it: where it fails (a claim is not visible yet),
both leave the same shard, and the last one stays. A fault is a file that says what went wrong at a job, once.
"""

import json
import os
import threading
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import files
from harness.bench import Failure
from harness.errors import ArbenchError
from harness.plan import Job

BEAT_S = 20
"""Seconds between two touches of a claim."""
STALE_S = 180
"""Seconds without a touch after which whoever made a claim is taken for dead: more than file systems delay what they
show (NFS: 60 s at most by default), and a few beats."""


class Claim:
    """The claim to a job."""

    def __init__(self, job: Job) -> None:
        self.path = job.plan.folder / "claims" / f"{job.part}.json"

    def holder(self) -> str | None:
        """The task that has it: ``SUBMISSION:INDEX``; empty if that cannot be read; None if there is no claim."""
        try:
            return str(json.loads(self.path.read_bytes())["task"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def fresh(self) -> bool:
        """Whether it was touched lately. Both times are the file server's, so that no clock has to be right."""
        try:
            return _server_time(self.path.parent) - self.path.stat().st_mtime < STALE_S
        except FileNotFoundError:
            return False

    def take(self, task: str) -> bool:
        """Claim the job for a task, unless another one is at it. ArbenchError if that cannot be written."""
        content = json.dumps({"task": task})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("x", encoding="utf-8") as file:
                file.write(content)
            return True
        except FileExistsError:
            if self.holder() != task and self.fresh():
                return False
        except OSError as error:
            self.path.unlink(missing_ok=True)  # an empty one would keep all off
            raise ArbenchError(f"cannot write {self.path}: {error.strerror or error}") from error
        files.write(self.path, lambda file: None if file.write(content.encode()) else None)
        return self.holder() == task

    def touch(self) -> None:
        """Say that it still holds."""
        try:
            os.utime(self.path)
        except OSError:
            return  # it is gone, or the file system is away: the work goes on

    def release(self) -> None:
        """Give it up."""
        self.path.unlink(missing_ok=True)


class Heart:
    """Touches the claim that is held, from a thread of its own."""

    def __init__(self) -> None:
        self.claim: Claim | None = None
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            claim = self.claim
            if claim is not None:
                claim.touch()


def blame(job: Job, failure: Failure, once: str) -> None:
    """Record a fault at a job. ``once`` names the occasion: a second fault of that name takes the first one's place."""
    files.write_json(job.plan.folder / "faults" / f"{job.part}@{once}.json", {**asdict(failure), "at": time.time()})


def faults(folder: Path) -> dict[str, list[Failure]]:
    """The faults of the jobs of a trial with this work folder, by ``Job.part``, oldest first."""
    found: dict[str, list[tuple[float, Failure]]] = defaultdict(list)
    for path in (folder / "faults").glob("[!.]*.json"):
        content: dict[str, Any] | None = files.read_json(path)
        if content is not None:
            at = content.pop("at")
            found[path.name.partition("@")[0]].append((at, Failure(**content)))
    return {part: [failure for _, failure in sorted(several, key=_when)] for part, several in found.items()}


def _when(dated: tuple[float, Failure]) -> float:
    return dated[0]


def _server_time(folder: Path) -> float:
    probe = folder / f".clock.{os.getpid()}.{threading.get_ident()}.tmp"
    try:
        probe.write_bytes(b".")
        return probe.stat().st_mtime
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ArbenchError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        probe.unlink(missing_ok=True)
