"""Schedulers start our tasks, on other machines or on this one. A scheduler is found by its name, through the
entry-point group ``arbench.executors``, so that any package can add a scheduler:

    [project.entry-points."arbench.executors"]
    pbs = "my_package.pbs:PBS"

A scheduler only starts tasks, and says which tasks still wait or run, and how the others have ended. All other facts
are kept in the store's files, for every scheduler: which jobs make up a task, which jobs are done, and which jobs are
tried again.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from harness.cluster.site import Resources, Site
from harness.cluster.submitted import Submission
from harness.errors import ArbenchError
from harness.plugins.points import installed, load_named

GROUP = "arbench.executors"
TaskId = tuple[str, int]
"""A submission's id, and the index of one of its tasks."""
Work = Callable[[], object]
"""What a task does. It can be pickled."""
Thing = TypeVar("Thing")


class UnreachableError(ArbenchError):
    """The scheduler gave no answer, or an error. It may be back in a minute."""


class RefusedError(ArbenchError):
    """The scheduler has not accepted a submission, for the reason given."""

    def __init__(self, reason: str, unsure: bool = False) -> None:
        super().__init__(reason)
        self.unsure = unsure  # whether the scheduler may have accepted after all: its answer was cut off


@dataclass(frozen=True)
class Queued:
    """A task that is still in the scheduler's queue."""

    job: str  # the name that the scheduler has given to the task
    state: str  # the scheduler's word, such as RUNNING or PENDING
    reason: str = ""  # why the task waits
    ending: bool = False  # whether the task is just ending: in seconds it is gone, or waits again


@dataclass(frozen=True)
class End:
    """How a task has ended, as far as the scheduler knows."""

    words: str = ""  # empty if the scheduler does not tell
    # Whether the end has other causes than the job that was being done.
    innocent: bool = False
    # Whether the task was ended from outside. The job that was being done is to blame only if the task had done no
    # other job.
    outside: bool = False


@dataclass(frozen=True)
class Inside:
    """What a task learns from its scheduler about itself."""

    threads: int  # number of threads with which the task computes
    facts: Mapping[str, str | None] = field(default_factory=dict)  # other facts, for the task's first event


class Scheduler(Protocol):
    """What arbench asks of a scheduler. One call serves all tasks; there is never a call per task."""

    name: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]]
    """Values for keys of the site file (``time``, ``poll-seconds``...). They are used for keys that the file lacks."""
    stays: ClassVar[bool]
    """Whether waiting tasks are still started when the process that submitted them has ended."""

    def check(self, sites: Sequence[Site], stages: Sequence[str]) -> None:
        """Check site files before anything is submitted. Raises ArbenchError with what is wrong and what is valid."""

    def most_tasks(self) -> int:
        """How many tasks one submission may have."""

    def submit(self, made: Submission, how: Resources, code: Path, work: Sequence[Work], after: Sequence[str]) -> str:
        """Submit a task for each piece of work. Returns the name that the scheduler gives to the submission.

        code: a folder that goes first on the tasks' ``PYTHONPATH``
        after: names that the scheduler has given to other submissions. All tasks of those submissions must have ended
            before the new tasks start.

        Raises RefusedError.
        """

    def queue(self, submissions: Sequence[Submission]) -> dict[TaskId, Queued]:
        """The tasks of these submissions that wait or run. Raises UnreachableError."""

    def ends(self, tasks: Iterable[tuple[Submission, int]]) -> dict[TaskId, End]:
        """How tasks have ended. Tasks about which the scheduler knows nothing are left out. Raises UnreachableError."""

    def cancel(self, numbers: Collection[str]) -> None:
        """End all tasks of some submissions. It is no error if some of these tasks have ended already.

        numbers: the names that the scheduler has given to the submissions. Such a name is often a number, but it can
            be any string.
        """

    def throttle(self, made: Submission, parallel: int) -> None:
        """Let ``parallel`` tasks of a submission run at once from now on. Raises UnreachableError."""

    def inside(self) -> Inside:
        """Called inside a task. Returns what the scheduler tells the task about itself."""


def named(name: str) -> Scheduler:
    """The scheduler of this name. Raises ArbenchError if there is none, or if its package cannot be imported."""
    made: Scheduler = load_named("scheduler", name, installed(GROUP))()
    return made


class Schedulers:
    """The schedulers that the submissions of one store use, together. Submissions of one store can use different
    schedulers. Each question about a submission is passed on to the scheduler that the submission uses."""

    def __init__(self, *own: Scheduler) -> None:
        self._known = {one.name: one for one in own}

    def of(self, submission: Submission) -> Scheduler:
        """The scheduler that a submission uses. Raises ArbenchError if this scheduler is not installed."""
        name = submission.scheduler
        if name not in self._known:
            self._known[name] = named(name)
        return self._known[name]

    def queue(self, submissions: Iterable[Submission]) -> dict[TaskId, Queued]:
        """All tasks of these submissions that wait or run. Tasks of other submissions may be among them. Raises
        UnreachableError."""
        asked = self._grouped((one, one) for one in submissions)
        return {task: queued for scheduler, same in asked for task, queued in scheduler.queue(same).items()}

    def ends(self, tasks: Iterable[tuple[Submission, int]]) -> dict[TaskId, End]:
        """How tasks have ended, as far as the schedulers know. Raises UnreachableError."""
        asked = self._grouped((one, (one, index)) for one, index in tasks)
        return {task: end for scheduler, same in asked for task, end in scheduler.ends(same).items()}

    def cancel(self, submissions: Mapping[str, Submission]) -> None:
        """End all tasks of some submissions.

        submissions: the submissions, in a dict. The key of a submission is the name that its scheduler has given to it.
        """
        for scheduler, numbers in self._grouped((one, number) for number, one in submissions.items()):
            scheduler.cancel(numbers)

    def _grouped(self, things: Iterable[tuple[Submission, Thing]]) -> list[tuple[Scheduler, list[Thing]]]:
        """Group values by scheduler. Returns pairs: a scheduler, and the values in its group.

        things: pairs of a submission and a value. The value goes into the group of the submission's scheduler.
        """
        found: dict[str, list[Thing]] = defaultdict(list)
        schedulers = {}
        for submission, thing in things:
            schedulers[submission.scheduler] = self.of(submission)
            found[submission.scheduler].append(thing)
        return [(schedulers[name], same) for name, same in found.items()]
