"""The executor that hands jobs to a scheduler, as tasks of several jobs each.

The executor submits the jobs that are still to be done and do not belong to a task yet. It sees in the store which
jobs are done. The executor's state is in the store's files: an executor that is started again goes on from there.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.cluster.bundles import Rates, bundles
from harness.cluster.faults import faults
from harness.cluster.leases import Lease
from harness.cluster.outlook import outlook
from harness.cluster.schedulers import RefusedError, Scheduler, Schedulers, UnreachableError
from harness.cluster.site import Resources, Site
from harness.cluster.submitted import Submission, Submissions
from harness.cluster.task import Task
from harness.cluster.watch import Watch
from harness.errors import ArbenchError
from harness.identity import source
from harness.jobs.bench import Bench
from harness.jobs.executors import Outcome, Queue, Tables
from harness.jobs.plan import Job, TrialPlan
from harness.progress import counted
from harness.records.store import Store
from harness.stages import STAGES

FILES_S = 2.0
"""Seconds between two checks of the store's files."""
REFUSALS = 10
"""The run ends when the scheduler has refused so many submissions in a row and no task of ours waits or runs."""


@dataclass(frozen=True)
class Settings:
    """How a sweep uses a cluster."""

    scheduler: Scheduler
    site: Site = field(default_factory=Site)
    shard_minutes: float = 10.0  # minutes of work in one task
    max_parallel: int | None = None  # tasks at once; None for any number
    retries: int = 2  # how often a job is tried again after a fault
    sites: Mapping[str, Site] = field(default_factory=dict)  # sites of single plans, by plan key; else ``site`` holds

    def check(self, tables: Collection[Tables], wait: bool) -> None:
        """Check the site before anything is computed. The site is the content of the site file: the options that the
        cluster asks for. Raises ArbenchError, which says what is wrong and what is valid.

        tables: for each trial, the tables of the sweep file that override the site. They give each trial a site of
            its own, and each of these sites is checked. If ``tables`` is empty, the site is checked as it is.
        wait: whether the driver will wait for the tasks
        """
        if not wait and not self.scheduler.stays:
            name = self.scheduler.name
            raise ArbenchError(f"--no-wait: --cluster {name} starts its tasks from this process, so it has to wait")
        sites = [self._over(each) for each in tables] or [self.site]
        self.scheduler.check(list({str(site): site for site in sites}.values()), STAGES)

    def executor(
        self, bench: Bench, store: Store, tables: Mapping[str, Tables], tell: Callable[[str], None]
    ) -> "Cluster":
        """Make the executor.

        tables: a dict from the key of a trial's plan to the tables that override the site for this trial
        """
        sites = {key: self._over(given) for key, given in tables.items()}
        return Cluster(bench, store, replace(self, sites=sites), tell)

    def resources(self, job: Job) -> Resources:
        """The resources of a job."""
        return self.sites.get(job.plan.key, self.site).resources(job.stage)

    def _over(self, tables: Tables) -> Site:
        site = self.site
        for table in tables:
            site = site.over(table)
        return site


class Cluster:
    """The executor that submits tasks to the cluster; the tasks do the jobs.

    ``tell`` is called with each line of text that people should read.
    """

    def __init__(self, bench: Bench, store: Store, settings: Settings, tell: Callable[[str], None]) -> None:
        self._bench, self._store, self._settings, self._tell = bench, store, settings, tell
        self._submissions = Submissions(store.folder.absolute())
        self._scheduler, site = settings.scheduler, settings.site
        self._schedulers = Schedulers(self._scheduler)
        every_s, visible_s = site.seconds("poll-seconds"), site.seconds("visibility-seconds")
        self._watch = Watch(self._submissions, self._schedulers, every_s, visible_s)
        self._rates = Rates(store, self._submissions)
        self._array_size = self._most_tasks = 0
        self._waiting = False
        self._cancels = self._submissions.cancels()
        self._mine: list[Submission] = []
        self._refused = 0

    def run(self, queue: Queue) -> Iterator[Outcome]:
        """Do jobs until the queue is empty. A job stays in the queue until it is done or given up. A job is given
        up if it has more than ``Settings.retries`` faults. Raises ArbenchError if `arbench cancel` ends what was
        submitted, or if the scheduler accepts no more submissions."""
        while queue:
            self._must_not_be_cancelled()
            yield from self._settled(queue)
            if self._watch.look({job.id: job for job in queue}):
                self._waiting = False
                yield from self._settled(queue)
                self._spread(queue)
            todo = self._todo(queue, self._watch.in_flight())
            if todo and not self._waiting:
                self._must_not_be_cancelled()
                self._try_to_submit(todo)
            if queue:
                time.sleep(FILES_S)

    def given_up(self, jobs: Sequence[Job]) -> list[Outcome]:
        """The jobs that are given up because they have too many faults, each with its failure. First waits until it is
        known which earlier tasks are still alive. Raises ArbenchError if the scheduler does not answer."""
        self._watch.settle({job.id: job for job in jobs})
        return [(job, failure) for job, failure in self._settled(deque(jobs)) if failure is not None]

    def leave(self, waves: Sequence[Sequence[Job]], about: Mapping[str, Any]) -> int:
        """Submit all jobs at once, without waiting for them. Returns how many tasks were submitted.

        waves: the jobs. The tasks of a wave start when the tasks of the previous wave have ended. The tasks of the
            final wave write the records.
        about: the provenance for the records

        Call ``given_up`` first.
        """
        after: list[str] = []
        count = 0
        for wave in waves:
            ids, last = {job.id for job in wave}, wave is waves[-1]
            carriers = [task for task in self._watch.living() if ids & set(task[0].tasks[task[1]])]
            flying = sorted({number for task in carriers if (number := self._watch.number(*task)) is not None})
            # The last wave writes the records. Its jobs count as submitted only in tasks that write records: the driver
            # that was to write the records of other tasks may be gone.
            kept = {job for one, index in carriers if one.records or not last for job in one.tasks[index]}
            todo = self._todo(wave, kept, cautious=False)
            made = self._submit(todo, [*after, *flying] if last else after, about)
            if sum(len(task) for one in made for task in one.tasks) < len(todo):
                raise ArbenchError(
                    f"{self._scheduler.name} has not taken all of the sweep; the same command submits the rest"
                )
            after = [*flying, *(one.number for one in made if one.number is not None)] or after
            count += sum(len(one.tasks) for one in made)
        return count

    def groups(self, jobs: Sequence[Job]) -> list[tuple[Resources, list[list[Job]]]]:
        """Group jobs into tasks. Returns pairs: resources, and the tasks that get these resources."""
        self._rates.look([plan for plan, _ in _by_plan(jobs)])
        kinds: dict[str, tuple[Resources, list[Job]]] = {}
        alone: set[str] = set()
        for plan, several in _by_plan(jobs):
            alone |= {job.id for job in _faulty(plan, several)}
            for stage in dict.fromkeys(job.stage for job in several):
                same = [job for job in several if job.stage == stage]
                resources = self._settings.resources(same[0])
                kinds.setdefault(f"{stage == 'timing'} {resources}", (resources, []))[1].extend(same)
        most, parallel = self._settings.shard_minutes, self._settings.max_parallel
        return [
            (resources, bundles(several, self._rates.job, most, parallel, lambda job: job.id in alone))
            for resources, several in kinds.values()
        ]

    def outlook(self, waves: Sequence[Sequence[Job]], trials: int) -> str:
        """A text of several lines: what would be submitted, and how long this work takes by measured rates."""
        return outlook([self.groups(wave) if wave else [] for wave in waves], self.seconds, trials)

    def seconds(self, job: Job) -> float | None:
        """Seconds that a job takes, by measured rates; None if no rate is known."""
        return self._rates.job(job)

    # --- what is done, what is to be done -----------------------------------------------------------------------------

    def _settled(self, queue: Queue) -> Iterator[Outcome]:
        """Take all jobs that are done or given up out of the queue. Yields each of them in a pair: (job, None) if it is
        done, (job, failure) if it is given up."""
        found: list[Outcome] = []
        for plan, several in _by_plan(queue):
            gaps = plan.shards.gaps()
            gaps = [] if plan.done("generate") else gaps  # checked after the shards: merging removes them
            known = faults(plan.folder)
            for job in several:
                open_ = any(_meet(gap, job.indices) for gap in gaps) if job.stage == "generate" else not job.done
                against = known.get(job.part, [])
                if not open_:
                    found.append((job, None))
                elif len(against) > self._settings.retries:
                    last = against[-1]
                    found.append((job, replace(last, reason=f"{last.reason} (tried {len(against)} times)")))
        settled = {job.id for job, _ in found}
        kept = [job for job in queue if job.id not in settled]
        queue.clear()
        queue.extend(kept)
        yield from found

    def _todo(self, queue: Sequence[Job] | Queue, flying: Collection[str], cautious: bool = True) -> list[Job]:
        """The jobs of the queue that no living task has leased and that are not in ``flying``.

        flying: ids of the jobs that already belong to a task
        cautious: return only one generate job of a trial if some generate job of the trial has a fault and no image is
            done yet. The trial's other generate jobs would most likely fail, too.
        """
        found: list[Job] = []
        for plan, several in _by_plan(queue):
            todo = [job for job in several if job.id not in flying and not self._claimed(job)]
            bad = [job for job in _faulty(plan, several) if job.stage == "generate"]
            if cautious and bad and plan.shards.gaps() == [range(plan.trial.images)]:
                todo = [job for job in todo if job.stage != "generate" or job is bad[0]]
            found += todo
        return found

    def _claimed(self, job: Job) -> bool:
        """Whether a living task holds the lease of a job. A task of this store is taken as living until it is known to
        have ended. Any other task is taken as living if the lease was touched lately."""
        lease = Lease(job)
        holder = lease.holder()
        if holder is None:
            return False
        return self._watch.lives(holder) if self._watch.knows(holder) else lease.fresh()

    def _must_not_be_cancelled(self) -> None:
        """Raise ArbenchError if `arbench cancel` was called. This process may have been submitting tasks at the moment
        of the call. `arbench cancel` may have missed these tasks. The missed tasks are therefore cancelled here."""
        if self._submissions.cancels() != self._cancels:
            missed = {one.number: one for one in self._mine if not one.cancelled and one.number is not None}
            self._schedulers.cancel(missed)
            raise ArbenchError("`arbench cancel` has ended this run; the same command goes on from here")

    # --- submitting ---------------------------------------------------------------------------------------------------

    def _submit(
        self, jobs: Sequence[Job], after: Sequence[str] = (), about: Mapping[str, Any] | None = None
    ) -> list[Submission]:
        if not self._array_size:
            self._array_size = self._most_tasks = self._scheduler.most_tasks()
        most, made = self._most_tasks, list[Submission]()
        arrays = [
            (resources, tasks[start : start + most])
            for resources, tasks in (self.groups(jobs) if jobs else ())
            for start in range(0, len(tasks), most)
        ]
        for resources, tasks in arrays:
            free = self._free() if about is None else self._settings.max_parallel
            if free == 0:
                break  # the next check may find room
            # Without a driver, nobody moves the bound from one array on to the next: the arrays wait for each other.
            before = [str(made[-1].number)] if made and free and about is not None else []
            one = self._together(resources, tasks, free or 0, [*after, *before], about)
            if one is None:
                break
            made.append(one)
            if most < self._array_size:  # the scheduler has refused larger submissions; now some more tasks may fit
                self._most_tasks, self._waiting = min(2 * most, self._array_size), True
                break
        return made

    def _try_to_submit(self, jobs: Sequence[Job]) -> None:
        try:
            self._submit(jobs)
        except UnreachableError as error:
            self._tell(f"{error}; trying again")
            self._waiting = True

    def _together(
        self,
        resources: Resources,
        tasks: Sequence[Sequence[Job]],
        parallel: int,
        after: Sequence[str],
        about: Mapping[str, Any] | None,
    ) -> Submission | None:
        """Make one submission; None if the scheduler does not accept the submission now."""
        names = [[job.id for job in task] for task in tasks]
        code = source.keep(self._submissions.folder / "code")
        stage, records = tasks[0][0].stage, about is not None and tasks[0][0].stage == "timing"
        name = self._scheduler.name
        made = self._submissions.new(stage, names, parallel, source.code_sha256(), records, name)
        blank, limit_s = replace(made, tasks=()), 60 * resources.minutes - resources.signal_s
        work = [
            Task(
                blank,
                index,
                self._bench,
                list(task),
                self._settings.retries,
                limit_s,
                self._store.folder.absolute(),
                about,
            )
            for index, task in enumerate(tasks)
        ]
        try:
            made.accepted(self._scheduler.submit(made, resources, code, work, after))
        except RefusedError as refusal:
            self._refuse(made, refusal)
            return None
        self._refused = 0
        self._mine.append(made)
        jobs_in_words = counted(sum(map(len, names)), "job")
        self._tell(f"submitted {counted(len(tasks), 'task')} with {jobs_in_words} as {made.number}")
        return made

    def _refuse(self, made: Submission, refusal: RefusedError) -> None:
        """Handle an attempt to submit that has failed. Before the next attempt, ``run`` asks the scheduler which tasks
        are in its queue. An attempt can fail for these reasons:

        - The scheduler is restarting.
        - The submission is above a limit of the scheduler. A smaller submission would be accepted.
        - The scheduler has accepted the submission, and only its answer was cut off. The tasks are then in its queue.
        """
        self._refused += 1
        self._waiting = True
        self._tell(f"{refusal}; trying again")
        if "limit" in str(refusal).lower():
            self._most_tasks = max(1, len(made.tasks) // 2)
        if not refusal.unsure:
            self._submissions.forget(made)
        if self._refused >= REFUSALS and not self._watch.queued:
            raise ArbenchError(f"{self._scheduler.name} has refused {REFUSALS} submissions: {refusal}")

    # --- how many run at once -----------------------------------------------------------------------------------------

    def _in_use(self) -> dict[str, tuple[Submission, int, int]]:
        """The submissions that have tasks left, as a dict from id to (submission, number of tasks left, how many of
        these tasks may run at once)."""
        left: dict[str, int] = defaultdict(int)
        known = {}
        for submission, _ in self._watch.living():
            left[submission.id] += 1
            known[submission.id] = submission
        return {
            name: (known[name], count, min(count, known[name].parallel_now or count)) for name, count in left.items()
        }

    def _free(self) -> int | None:
        """How many more tasks may run at once; None for any number."""
        if self._settings.max_parallel is None:
            return None
        return max(0, self._settings.max_parallel - sum(running for _, _, running in self._in_use().values()))

    def _spread(self, queue: Queue) -> None:
        """Let more tasks run at once, if ``max_parallel`` now leaves room for them. Each submission has a bound on how
        many of its tasks run at once. The bound is increased if it keeps tasks of the submission waiting."""
        free = self._free()
        for submission, count, running in self._in_use().values() if free else ():
            if count > running and submission.number is not None and free:
                more = min(free, count - running)
                try:
                    self._schedulers.of(submission).throttle(submission, running + more)
                except UnreachableError:
                    return  # the next check tries again
                submission.allow(running + more)
                free -= more


def _by_plan(jobs: Sequence[Job] | Queue) -> Iterator[tuple[TrialPlan, list[Job]]]:
    found: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        found[job.plan.key].append(job)
    return iter([(several[0].plan, several) for several in found.values()])


def _faulty(plan: TrialPlan, jobs: Sequence[Job]) -> list[Job]:
    """The jobs of a trial that have faults, those with most faults first."""
    known = faults(plan.folder)
    bad = [job for job in jobs if job.plan.key == plan.key and job.part in known]
    return sorted(bad, key=lambda job: -len(known[job.part]))


def _meet(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop
