"""Groups jobs into tasks. Measured rates tell how long a job takes, so that each task gets a given number of minutes of
work."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from math import ceil
from statistics import fmean
from typing import TypeVar

from harness.cluster.submitted import Submissions
from harness.jobs.plan import Job, TrialPlan
from harness.records.store import Store

LEAST_S = 30.0
"""Tasks are made shorter if more tasks can then work at once. They keep at least so many seconds of work, since
starting a task takes seconds, too."""
UNKNOWN_JOBS = 8
"""Jobs per task, if neither the rate of the jobs nor the number of tasks that may run at once is known."""
WAVES = 4
"""If rates are not known, the number of tasks is this number times the number of tasks that may run at once. The tasks
are then short, and no task holds up the others for long."""

Name = TypeVar("Name", bound=Hashable)
Kind = tuple[str, str]
"""Method and preset. Trials of one kind take about equally long."""


class Rates:
    """The rates that were measured in a store. For stage generate, these are seconds per image of each trial; for each
    other stage, seconds per job.

    The rate of a trial comes from the first of these sources that exists:

    - the tasks on a cluster that have made images of the trial
    - the trial's record
    - the tasks that have made images of other trials of the same method and preset
    - the records of such other trials
    """

    def __init__(self, store: Store, submissions: Submissions) -> None:
        self._submissions = submissions
        self._by_name: dict[str, float] = {}
        kinds: dict[Kind, list[float]] = defaultdict(list)
        for record in store.records():
            if record["status"] == "done" and record["generate"]:
                rate = record["generate"]["seconds"] / record["generate"]["images"]
                self._by_name[record["name"]] = rate
                kinds[record["trial"]["method"], record["trial"]["preset"]].append(rate)
        self._recorded = _means(kinds)
        self._seen: dict[Kind, float] = {}
        self._kinds: dict[str, Kind] = {}
        self._by_key: dict[str, float] = {}
        self._by_stage: dict[str, float] = {}

    def look(self, plans: Iterable[TrialPlan]) -> None:
        """Read the events that all tasks have reported. They say how long each finished job took.

        plans: the plans of the trials to which these jobs may belong. Plans from earlier calls are remembered, and need
            not be given again.
        """
        self._kinds |= {plan.short: plan.kind[:2] for plan in plans}
        images: dict[str, list[float]] = defaultdict(list)
        stages: dict[str, list[float]] = defaultdict(list)
        for submission in self._submissions.all():
            for index in range(len(submission.tasks)):
                for event in submission.events(index):
                    if event["event"] == "done":
                        key, _, part = event["job"].partition(":")
                        if event["images"]:
                            images[key].append(event["seconds"] / event["images"])
                        else:
                            stages[part or key].append(event["seconds"])
        self._by_key = _means(images)
        self._by_stage = _means(stages)
        kinds: dict[Kind, list[float]] = defaultdict(list)
        for key, rate in self._by_key.items():
            if key in self._kinds:
                kinds[self._kinds[key]].append(rate)
        self._seen = _means(kinds)

    def image(self, plan: TrialPlan) -> float | None:
        """Seconds per image of a trial; None if no rate is known."""
        others = self._seen.get(plan.kind[:2], self._recorded.get(plan.kind[:2]))
        return self._by_key.get(plan.short, self._by_name.get(plan.name, others))

    def job(self, job: Job) -> float | None:
        """Seconds that a job takes; None if no rate is known."""
        if job.stage != "generate":
            return self._by_stage.get(job.stage)
        rate = self.image(job.plan)
        return None if rate is None else rate * len(job.indices)


def _means(samples: Mapping[Name, Sequence[float]]) -> dict[Name, float]:
    return {name: fmean(several) for name, several in samples.items()}


def bundles(
    jobs: Sequence[Job],
    seconds: Callable[[Job], float | None],
    minutes: float,
    parallel: int | None,
    alone: Callable[[Job], bool],
) -> list[list[Job]]:
    """Group jobs, in order, into tasks.

    seconds: how long a job takes; None if this is not known
    minutes: roughly how many minutes of work a task gets. Tasks get less work if there would otherwise be fewer than
        ``parallel`` tasks.
    parallel: the largest number of tasks that run at once; None for no bound
    alone: whether a job gets a task for itself

    The jobs of stage timing that do not get a task for themselves form one task, since they are measured together.
    """
    found = [[job] for job in jobs if alone(job)]
    rest = [job for job in jobs if not alone(job)]
    timed = [job for job in rest if job.stage == "timing"]
    known = [(job, cost) for job in rest if job.stage != "timing" and (cost := seconds(job)) is not None]
    unknown = [job for job in rest if job.stage != "timing" and seconds(job) is None]
    if timed:
        found.append(timed)
    most = 60 * minutes
    if parallel:
        most = min(most, max(LEAST_S, sum(cost for _, cost in known) / parallel))
    found += _filled(known, most)
    size = ceil(len(unknown) / (WAVES * parallel)) if parallel else UNKNOWN_JOBS
    found += [unknown[start : start + size] for start in range(0, len(unknown), max(1, size))]
    return found


def _filled(jobs: Iterable[tuple[Job, float]], most: float) -> list[list[Job]]:
    """Fill tasks with the jobs, in order, up to ``most`` seconds of work per task. Each task gets at least one job."""
    found: list[list[Job]] = []
    held = most
    for job, cost in jobs:
        if held + cost > most:
            found.append([])
            held = 0.0
        found[-1].append(job)
        held += cost
    return found
