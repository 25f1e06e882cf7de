"""A task: a program that the scheduler starts. It does jobs of arbench, one after another. A job of arbench is a piece
of a trial's work. A task holds a lease on the job that it is doing.

The results of a task are in the store. A task can be killed at any moment. The scheduler may then begin the task again,
under the same name: this is called a new life of the task. Or the task's jobs may be given to another task. Finished
jobs are skipped.
"""

import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from submitit.helpers import DelayedSubmission

from harness.cluster.faults import blame, faults
from harness.cluster.leases import Heart, Lease
from harness.cluster.schedulers import named
from harness.cluster.submitted import Submission, since_start
from harness.identity import provenance
from harness.jobs.assembly import assemble
from harness.jobs.bench import Bench, Failure, last_lines
from harness.jobs.plan import Job
from harness.machine.heap import keep_heap
from harness.records.store import Store, timed

FRUITLESS = 3
"""A task has a new life whenever the scheduler begins the task again. If so many lives in a row were interrupted before
they had finished a job, the job at which the most recent of these lives was working is to blame."""


@dataclass
class Task:
    """A task: jobs of arbench that are done one after another. The object is pickled and sent to the cluster."""

    submission: Submission
    index: int
    bench: Bench
    jobs: list[Job]
    retries: int  # once a job of a trial has more faults than this, no job of the trial is done any more
    limit_s: float  # seconds until a task is warned that its time is nearly over
    store: Path
    # provenance of the records that a task of stage timing writes; None if a driver waits and writes the records
    about: Mapping[str, Any] | None = None
    _at: Job | None = field(default=None, init=False)  # the job that is being done
    _began: float = field(default=0.0, init=False)  # when this life began
    _fruitful: bool = field(default=False, init=False)  # whether this life has done a job
    _fruitless: int = field(default=0, init=False)  # number of lives in a row that did no job and were interrupted

    @property
    def name(self) -> str:
        """The name under which the task leases jobs."""
        return f"{self.submission.id}:{self.index}"

    def __call__(self) -> None:
        """Do the jobs."""
        import torch

        inside = named(self.submission.scheduler).inside()
        torch.set_num_threads(inside.threads)
        keep_heap()
        before = self.submission.events(self.index)
        self._began, self._fruitful = time.time(), False
        life = sum(event["event"] == "start" for event in before)
        self._tell("start", host=platform.node(), life=life, **inside.facts)
        self._account_for(before, life)
        heart = Heart()
        if all(job.stage == "timing" for job in self.jobs):
            self._session(life)
        failed: set[str] = set()
        for job in self.jobs:
            if job.stage != "timing" and job.plan.key not in failed and self._open(job):
                with self._claimed(job, heart) as ours:
                    if ours and not self._do(job, life):
                        failed.add(job.plan.key)
        if self.about is not None and self.jobs[0].stage == "timing":
            self._record(self.about)
        self._tell("end")

    def checkpoint(self) -> DelayedSubmission:
        """submitit calls this when the task is preempted or its time is over. The scheduler then requeues the task.

        The interruption ends one life of the task: the time since the scheduler last began the task. If the interrupted
        life has finished a job, the job that is being done is not to blame for the interruption. If the interrupted
        life has finished no job, the job that is being done is to blame in two cases:

        - The interrupted life has used up its time.
        - At least FRUITLESS lives in a row were interrupted before they had finished a job. The interrupted life
          counts as one of these lives.

        If the job is not to blame, its lease is released.
        """
        self._fruitless = 0 if self._fruitful else self._fruitless + 1
        short = time.time() - self._began < 0.8 * self.limit_s and self._fruitless < FRUITLESS
        if self._at is not None and (self._fruitful or short):
            Lease(self._at).release()
        self._tell("interrupted")
        self._at = None
        return DelayedSubmission(self)

    def _open(self, job: Job) -> bool:
        """Whether a job is to be done now: it is not done yet, it can start, and no job of its trial has failed too
        often."""
        if job.done or (job.stage == "quality" and not job.plan.done("generate") and job.plan.shards.gaps()):
            return False
        return all(len(several) <= self.retries for several in faults(job.plan.folder).values())

    @contextmanager
    def _claimed(self, job: Job, heart: Heart) -> Iterator[bool]:
        """Hold the lease of a job inside the ``with``; yields False if another task has the lease. If this task is
        killed or interrupted inside the ``with``, the lease stays."""
        lease = Lease(job)
        if not lease.take(self.name):
            yield False
            return
        self._at, heart.lease = job, lease
        yield True
        self._at = heart.lease = None
        lease.release()

    def _do(self, job: Job, life: int) -> bool:
        began = time.time()
        failure = self.bench.attempt(job)
        if failure is None:
            self._fruitful = True
            self._tell("done", job=job.id, images=len(job.indices), seconds=time.time() - began)
            return True
        self._fault(job, failure, life)
        return False

    def _fault(self, job: Job, failure: Failure, life: int) -> None:
        print(f"{job.plan.name}: {job.part}: {failure.reason}\n{failure.log}", file=sys.stderr, flush=True)
        self._tell("failed", job=job.id)
        self._blame(job, failure, life)

    def _blame(self, job: Job, failure: Failure, life: int) -> None:
        blame(job, failure, f"{self.submission.id}-{self.index}-{life}")

    def _account_for(self, before: list[dict[str, Any]], life: int) -> None:
        """If this task was killed during a job and then begun again by the scheduler, release the job's lease. If the
        killed life of the task had finished no job, also blame the job.

        before: the events of all earlier lives
        life: the number of the present life; the first life has number 0
        """
        earlier = since_start(before)
        for job in self.jobs if earlier is not None else ():
            lease = Lease(job)
            if lease.holder() == self.name:
                if not any(event["event"] == "done" for event in earlier or ()):
                    log = last_lines(self.submission.log(self.index))
                    self._blame(job, Failure(job.stage, "killed, and begun again by the scheduler", log), life - 1)
                lease.release()

    def _session(self, life: int) -> None:
        """Run the stage ``timing`` for all trials of this task that still lack timing. The trials are measured
        together, in one session."""
        todo = [job for job in self.jobs if self._open(job) and (self.about is None or job.plan.measured)]
        for job, failure in self.bench.session(todo, lambda line: print(line, flush=True)) if todo else ():
            if failure is not None:
                self._fault(job, failure, life)
        self._tell("done", job="timing", images=0, seconds=time.time() - self._began)

    def _record(self, about: Mapping[str, Any]) -> None:
        """Write the records of trials whose stages are all done."""
        store = Store(self.store)
        for job in self.jobs:
            plan = job.plan
            record = store.read(plan.name, plan.key)
            if plan.measured and plan.done("timing") and (record is None or not timed(record)):
                finished = {**about, "finished": provenance.now()}
                store.write(*assemble(plan, self.bench.instrument(plan), finished))

    def _tell(self, event: str, **about: Any) -> None:
        self.submission.tell(self.index, event, **about)
