"""Leases: files in a trial's work folder by which the tasks of a cluster share out its jobs, without locks.

A task makes a lease when it begins a job, touches it while it works, and removes it when the job is done. So two tasks
do not do the same shard, as well as a shared file system lets us see to it. Where it fails, because a lease is not
visible yet, both leave the same shard, and the last one stays.
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
"""Seconds without a touch after which whoever made a lease is taken for dead: more than file systems delay what they
show (NFS: 60 s at most by default), and a few beats."""


class Lease:
    """The lease of a job."""

    def __init__(self, job: Job) -> None:
        self.path = job.plan.folder / "leases" / f"{job.part}.json"

    def holder(self) -> str | None:
        """The task that has it: ``SUBMISSION:INDEX``; empty if that cannot be read; None if there is no lease."""
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
        """Lease the job for a task, unless another one is at it. ArbenchError if that cannot be written."""
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
        files.write_text(self.path, content)
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
    """Touches the lease that is held, from a thread of its own."""

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
