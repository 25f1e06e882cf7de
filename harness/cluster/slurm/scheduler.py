"""Slurm as a scheduler of arbench. harness/cluster/schedulers.py says what arbench asks of a scheduler."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.cluster.schedulers import End, Inside, Queued, TaskId, Work
from harness.cluster.site import Resources, Site
from harness.cluster.slurm import commands, launch, options
from harness.cluster.submitted import Submission

INNOCENT = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED")
"""If Slurm's word for the end of a task begins like this, the job that was being done is not to blame."""
EXTERNAL = ("TIMEOUT", "CANCELLED", "DEADLINE")
"""If Slurm's word for the end of a task begins like this, the task was ended from outside."""


class Slurm:
    """Slurm, reached through the commands of this machine."""

    name: ClassVar[str] = "slurm"
    defaults: ClassVar[Mapping[str, Any]] = {}
    stays: ClassVar[bool] = True

    def check(self, sites: Sequence[Site], stages: Sequence[str]) -> None:
        """Check site files against the cluster: the names of options by ``sbatch --help``, the values by
        ``sbatch --test-only``."""
        options.check(sites, stages)

    def most_tasks(self) -> int:
        """How many tasks an array may have: Slurm's MaxArraySize."""
        return commands.most_tasks()

    def submit(self, made: Submission, how: Resources, code: Path, work: Sequence[Work], after: Sequence[str]) -> str:
        """Submit an array of tasks."""
        return launch.submit(made, how, code, work, after)

    def queue(self, submissions: Sequence[Submission]) -> dict[TaskId, Queued]:
        """What squeue reports: all waiting and running tasks of this process's user and of the submissions' owners.
        Tasks that belong to other stores are included."""
        return commands.queue({os.getuid(), *(one.user for one in submissions)})

    def ends(self, tasks: Iterable[tuple[Submission, int]]) -> dict[TaskId, End]:
        """How tasks have ended, as sacct reports it."""
        asked = {job: (one.id, index) for one, index in tasks if (job := one.job(index)) is not None}
        return {
            asked[job]: End(words, words.startswith(INNOCENT), words.startswith(EXTERNAL))
            for job, words in commands.ends(asked).items()
            if job in asked
        }

    def cancel(self, numbers: Collection[str]) -> None:
        """End all tasks of these submissions by one call of scancel."""
        commands.cancel(numbers)

    def throttle(self, made: Submission, parallel: int) -> None:
        """Change the array's ArrayTaskThrottle."""
        if made.number is not None:
            commands.throttle(made.number, parallel)

    def inside(self) -> Inside:
        """What Slurm's environment variables say about this task."""
        names = ("JOB_ID", "RESTART_COUNT", "JOB_PARTITION")
        return Inside(commands.own_cores(), {name: os.environ.get(f"SLURM_{name}") for name in names})
