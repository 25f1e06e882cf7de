"""Finds out the state of the submitted tasks. The scheduler is first asked which tasks still wait or run. It is then
asked how the other tasks have ended.

The scheduler only says whether a task may still do something. The store shows what a task has done.
"""

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping

from harness import files
from harness.cluster.faults import blame
from harness.cluster.leases import Lease
from harness.cluster.schedulers import End, Queued, Schedulers, TaskId, UnreachableError
from harness.cluster.submitted import Submission, Submissions, since_start
from harness.jobs.bench import Failure, last_lines
from harness.jobs.plan import Job

ENDING_S = 120.0
"""How many seconds we wait for a task that the scheduler is just ending."""


class Watch:
    """Tracks the tasks of every submission to a store: which are still active, and which have ended."""

    def __init__(self, submissions: Submissions, schedulers: Schedulers, every_s: float, visible_s: float) -> None:
        self._submissions, self._schedulers = submissions, schedulers
        self._every_s, self._visible_s = every_s, visible_s
        self._asked = float("-inf")
        self.queued: Mapping[TaskId, Queued] = {}
        self._absent: dict[TaskId, float] = {}
        self._ended: set[TaskId] = set()

    def look(self, open_jobs: Mapping[str, Job]) -> bool:
        """Ask the scheduler which tasks still exist, and handle the tasks that have ended. If the scheduler was
        already asked less than ``every_s`` seconds ago, it is not asked. Returns True if the scheduler was asked now,
        and has answered.

        open_jobs: the jobs that are still to be done, by id
        """
        if time.monotonic() - self._asked < self._every_s:
            return False
        try:
            self._ask(open_jobs)
        except UnreachableError:
            return False  # the scheduler is restarting, or busy: running tasks go on without it
        return True

    def settle(self, open_jobs: Mapping[str, Job]) -> None:
        """Ask the scheduler again and again, until it is certain for each task whether the task has ended. Raises
        UnreachableError if the scheduler does not answer.

        A task that is just ending is in doubt: within seconds it will be gone, or wait in the queue again. A cancelled
        task is in doubt, too. If a task of either kind is still there after ENDING_S seconds, the task counts as alive.
        """
        began = time.monotonic()
        self._ask(open_jobs)
        while self._in_doubt(time.monotonic() - began < ENDING_S):
            time.sleep(min(self._every_s, self._visible_s))
            self._ask(open_jobs)

    def _in_doubt(self, patient: bool) -> bool:
        ending = {task for task, one in self.queued.items() if one.ending}
        living = [((one.id, index), one.cancelled) for one, index in self.living()]
        return any(task in self._absent or (patient and (task in ending or over)) for task, over in living)

    def _ask(self, open_jobs: Mapping[str, Job]) -> None:
        self._asked = time.monotonic()
        before = time.time()
        self.queued = self._schedulers.queue({one.id: one for one, _ in self.living()}.values())
        self._see_to_ended(open_jobs, before)

    def living(self) -> Iterator[tuple[Submission, int]]:
        """The tasks that may still do something. For each: its submission, and its index in the submission."""
        for submission in self._submissions.all():
            for index in range(len(submission.tasks)):
                if (submission.id, index) not in self._ended:
                    yield submission, index

    def in_flight(self) -> set[str]:
        """Ids of all jobs of the tasks that may still do something. Finished jobs of these tasks are included."""
        return {job for submission, index in self.living() for job in submission.tasks[index]}

    def number(self, submission: Submission, index: int) -> str | None:
        """The name that the scheduler has given the submission to which a task belongs. None if the name is neither in
        the submission's files nor in the queue."""
        queued = self.queued.get((submission.id, index))
        return submission.number or (None if queued is None else queued.job.partition("_")[0])

    def lives(self, task: str) -> bool:
        """Whether a lease's holder (``SUBMISSION:INDEX``) is a task that may still do something."""
        name, _, index = task.partition(":")
        known = any(one.id == name for one in self._submissions.all())
        return known and (name, int(index)) not in self._ended

    def knows(self, task: str) -> bool:
        """Whether a lease's holder (``SUBMISSION:INDEX``) is a task of this store."""
        return any(one.id == task.partition(":")[0] for one in self._submissions.all())

    def _see_to_ended(self, open_jobs: Mapping[str, Job], asked: float) -> None:
        gone = []
        for submission, index in list(self.living()):
            task = submission.id, index
            if submission.cancelled and task not in self.queued:
                for job in _leased(submission, index, open_jobs):
                    Lease(job).release()
                self._ended.add(task)
            elif (submission.folder / f"ended-{index}.json").exists():
                self._ended.add(task)
            elif task in self.queued or submission.submitted > asked:
                self._absent.pop(task, None)
            elif not any(job in open_jobs for job in submission.tasks[index]):
                self._ended.add(task)  # none of its jobs is open any more
            elif time.time() - self._absent.setdefault(task, time.time()) >= self._visible_s:
                gone.append((submission, index))
        if gone:
            ends = self._ends(gone)
            for submission, index in gone:
                self._bury(submission, index, ends.get((submission.id, index), End()), open_jobs)

    def _ends(self, gone: Collection[tuple[Submission, int]]) -> dict[TaskId, End]:
        with contextlib.suppress(UnreachableError):  # accounting may be down, or not there at all
            return self._schedulers.ends(gone)
        return {}

    def _bury(self, submission: Submission, index: int, end: End, open_jobs: Mapping[str, Job]) -> None:
        """Handle a task that has ended before its work was done: record faults of the jobs that are to blame for the
        task's end, and release the task's leases."""
        left = [open_jobs[job] for job in submission.tasks[index] if job in open_jobs]
        leased = _leased(submission, index, open_jobs)
        events = submission.events(index)
        for job in self._guilty(left, leased, events, end, submission.number is not None):
            log = last_lines(submission.log(index))
            reason = f"the task ended before the job was done: {end.words or 'the cluster does not tell how'}"
            life = sum(event["event"] == "start" for event in events)
            blame(job, Failure(job.stage, reason, log), f"{submission.id}-{index}-{life - 1}")
        for job in leased:
            Lease(job).release()
        files.write_json(
            submission.folder / f"ended-{index}.json", {"end": end.words, "left": [job.id for job in left]}
        )
        self._ended.add((submission.id, index))

    @staticmethod
    def _guilty(
        left: list[Job], leased: list[Job], events: list[dict[str, object]], end: End, known: bool
    ) -> list[Job]:
        life = since_start(events)
        if life is None and not known:
            return []  # the answer to the submission was cut off, and it had not been accepted
        told = {event["event"] for event in life or ()}
        if "end" in told or end.innocent:
            return []  # the task has left its jobs to others or to a later try, or its end has other causes
        if end.outside and (life is None or "done" in told):
            return []
        if left and left[0].stage == "timing":
            return left  # they are measured together: any of them may have ended the task
        return leased or left[:1]


def _leased(submission: Submission, index: int, open_jobs: Mapping[str, Job]) -> list[Job]:
    """The jobs that a task has leased: the task holds a lease on each of them. Jobs that are not open are left out."""
    own = [open_jobs[job] for job in submission.tasks[index] if job in open_jobs]
    return [job for job in own if Lease(job).holder() == f"{submission.id}:{index}"]
