"""Leases: files in a trial's work folder by which the tasks of a cluster share out the trial's jobs, without locks.

A task makes a lease when it begins a job, touches the lease while it works, and removes the lease when the job is done.
As far as a shared file system allows, this keeps two tasks from doing the same job. If a task does not yet see the
lease of another task, both tasks do the job, and both write the same file. For a job that makes images, the file is a
shard: it holds a range of the trial's images. The second task to write the file overwrites what the first has written.
"""

import json
import os
import threading
import time
from pathlib import Path

from harness import files
from harness.errors import ArbenchError
from harness.jobs.plan import Job

BEAT_S = 20
"""Seconds between two touches of a lease."""
STALE_S = 180
"""If a lease is not touched for so many seconds, its task is taken for dead. This is longer than the delay with which
file systems show changes (NFS: 60 s at most by default), and longer than the time of a few touches."""


class Lease:
    """The lease of a job."""

    def __init__(self, job: Job) -> None:
        self.path = job.plan.folder / "leases" / f"{job.part}.json"

    def holder(self) -> str | None:
        """The name of the task that has the lease, ``SUBMISSION:INDEX``. An empty string if the lease's file cannot be
        read; None if there is no lease."""
        try:
            return str(json.loads(self.path.read_bytes())["task"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def fresh(self) -> bool:
        """Whether the lease was touched lately. The time of the touch and the present time both come from the file
        server, so no clock has to be right."""
        try:
            return _server_time(self.path.parent) - self.path.stat().st_mtime < STALE_S
        except FileNotFoundError:
            return False

    def take(self, task: str) -> bool:
        """Take the lease of the job for a task; False if another task has the lease. Raises ArbenchError if the lease
        cannot be written."""
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
            self.path.unlink(missing_ok=True)  # an empty lease would keep all tasks away
            raise ArbenchError(f"cannot write {self.path}: {error.strerror or error}") from error
        files.write_text(self.path, content)
        return self.holder() == task

    def touch(self) -> None:
        """Show that the lease is still held."""
        try:
            os.utime(self.path)
        except OSError:
            return  # the lease or the file system is gone: the work goes on

    def release(self) -> None:
        """Give up the lease."""
        self.path.unlink(missing_ok=True)


class Heart:
    """Touches the lease that is currently held, in a background thread."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            lease = self.lease
            if lease is not None:
                lease.touch()


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
