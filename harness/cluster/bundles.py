"""Which jobs make up one task: about so many minutes of work, by measured rates."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from math import ceil
from statistics import fmean
from typing import TypeVar

from harness.cluster.submitted import Submissions
from harness.jobs.plan import Job, TrialPlan
from harness.records.store import Store

LEAST_S = 30.0
"""A task is not made shorter than this only to keep more of them busy: starting one takes seconds, too."""
UNKNOWN_JOBS = 8
"""Jobs of a task, where neither their rate is known nor how many tasks may run at once."""
WAVES = 4
"""Tasks for each that may run at once, where rates are not known: so that none holds up all for long."""

Name = TypeVar("Name", bound=Hashable)
Kind = tuple[str, str]
"""Method and preset: their trials take about as long."""


class Rates:
    """Seconds an image takes, from what the store has seen: this trial on a cluster, else its record, else other trials
    of its method and preset, on a cluster or in records; and seconds that other stages take."""

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
        """Take up what tasks have told by now. plans: whose jobs they may be; those of earlier calls are known."""
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
        """Seconds an image of a trial takes; None if nothing tells."""
        others = self._seen.get(plan.kind[:2], self._recorded.get(plan.kind[:2]))
        return self._by_key.get(plan.short, self._by_name.get(plan.name, others))

    def job(self, job: Job) -> float | None:
        """Seconds a job takes; None if nothing tells."""
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
    """Cut jobs, in order, into tasks of about ``minutes``; less where some of the ``parallel`` tasks that may run at
    once would otherwise have nothing to do. All jobs of stage timing are one task: they are measured together. A job
    that ``alone`` is true of gets a task of its own."""
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
    """Tasks filled in order up to ``most`` seconds, with one job at least."""
    found: list[list[Job]] = []
    held = most
    for job, cost in jobs:
        if held + cost > most:
            found.append([])
            held = 0.0
        found[-1].append(job)
        held += cost
    return found
