"""The driver: takes the trials of a sweep through their stages and writes their records.

All that does not depend on the machine's quiet (generate, quality, flops) runs first, in worker processes; then timing,
in this process, alone. Every stage leaves a file in the store, so a run that was killed goes on where it stopped.
"""

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from harness import compilation, devices, extractors, files, provenance
from harness.bench import Bench, Failure
from harness.errors import ArbenchError
from harness.extractors import INCEPTION
from harness.facts import reference_facts
from harness.heap import keep_heap
from harness.plan import Instrument, Job, Plan, assemble, heading, jobs, listed, plan, protocol
from harness.plan import provenance as origin
from harness.progress import Progress, throttled
from harness.store import Record, Store
from harness.sweep import Sweep
from harness.workers import Executor, Here, Queue, Workers

if TYPE_CHECKING:
    from harness.cluster.executor import Cluster, Settings


@dataclass(frozen=True)
class Options:
    """How a sweep is run, which no record depends on but for ``inception`` and ``reference``.

    workers: processes, 0 for this one alone; batch: images a shard; inception: Inception weights, for its FID beside
    that of the sweep's extractor or, where that is Inception itself, for it; reference: of data that do not ship with
    us; device: torch's name of it, ``cuda`` for all GPUs in turn; cluster: how a cluster is used, in place of
    processes; wait: False to leave it to itself once all is submitted.
    """

    workers: int = 1
    batch: int = 250
    retry_failed: bool = False
    inception: Path | None = None
    reference: Path | None = None
    device: str = "cpu"
    cluster: "Settings | None" = None
    wait: bool = True


@dataclass(frozen=True)
class Tally:
    """How a run ended: numbers of trials. failed: also those that an earlier run had recorded as failed; left: those
    that a cluster goes on with."""

    recorded: int
    skipped: int
    failed: int
    left: int = 0

    def __str__(self) -> str:
        total = self.recorded + self.skipped + self.failed + self.left
        said = f"{total} trials: {self.recorded} measured, {self.skipped} already recorded, {self.failed} failed"
        return f"{said}, {self.left} left to the cluster" if self.left else said


def run(sweep: Sweep, store: Store, options: Options, stream: TextIO | None = None) -> Tally:
    """Run a sweep; records go to ``store``, progress to ``stream`` (stderr by default).

    Raises ArbenchError, before anything is computed, for a store that cannot be written, weights that cannot be loaded
    and a wrong timing protocol. A trial that fails is recorded as failed, and the others go on.
    """
    keep_heap()
    return prepared(sweep, store, options, stream).all()


def prepared(sweep: Sweep, store: Store, options: Options, stream: TextIO | None = None) -> "Run":
    """A run that is ready to begin. Raises as ``run`` does."""
    timing = protocol(sweep.timing, sweep.name)
    settings = options.cluster
    if settings is None:
        compilation.checked(timing["compile"], devices.checked(options.device))
    else:
        devices.named(options.device)  # the jobs have it; this machine need not
        sites = [settings.site.over(head).over(block) for head, block in sweep.cluster]
        from harness.cluster.site import check  # late: laptops need no cluster

        check(list({str(site): site for site in sites}.values()))
    store.prepare()
    trained = [trial for trial in sweep.trials if trial.setup.weights == "trained"]
    data = list(dict.fromkeys(trial.owner.preset_named(trial.preset).data for trial in trained))
    named = _extractors(sweep, data, options.inception)
    here = options.device if settings is None else "cpu"
    bench = Bench(named, store.folder.absolute() / "references", timing, options.reference, here)
    instrument = Instrument(named, {name: bench.references(name) for name in data}, timing)
    plans = [plan(trial, instrument, store) for trial in sweep.trials]
    if settings is not None:
        keyed = {planned.key: site for planned, site in zip(plans, sites, strict=True)}
        options = replace(options, cluster=replace(settings, sites=keyed))
    return Run(sweep.name, plans, instrument, store, bench, options, stream or sys.stderr)


def _extractors(sweep: Sweep, data: Sequence[str], inception: Path | None) -> tuple[tuple[str, Path | None], ...]:
    """The sweep's extractor, or the usual one of its data; and Inception beside it, if its weights are given."""
    if not data:
        return ()
    if len(data) > 1:
        raise ArbenchError(f"{sweep.name}: data {', '.join(data)} have references of their own: make a sweep of each")
    first = sweep.extractor or extractors.usual(data[0])
    if first == INCEPTION:
        return ((INCEPTION, inception),)
    return ((first, None), *([(INCEPTION, inception)] if inception else []))


class Run:
    """One run of a driver over planned trials."""

    def __init__(
        self,
        name: str,
        plans: Sequence[Plan],
        instrument: Instrument,
        store: Store,
        bench: Bench,
        options: Options,
        stream: TextIO,
    ) -> None:
        self._name, self._plans = name, plans
        self._instrument, self._store, self._bench = instrument, store, bench
        self._options, self._stream = options, stream
        before = {planned.key: store.read(planned.name, planned.key) for planned in plans}
        self._skipped = sum(_status(before[planned.key]) == "done" for planned in plans)
        known = () if options.retry_failed else ("done", "failed")
        self._known_failures = sum(_status(before[planned.key]) == "failed" for planned in plans) if known else 0
        self._open = [planned for planned in plans if _status(before[planned.key]) not in (known or ("done",))]
        self._again = [planned for planned in self._open if _status(before[planned.key]) == "failed"]
        self._failed: set[str] = set()
        self._about: dict[str, Any] = {}

    def all(self) -> Tally:
        """Take every open trial to its record, or to the cluster."""
        left = 0
        if self._open:
            self._about = {**provenance.gather(), "started": provenance.now()}
            self._preflight()
            if self._instrument.references:
                facts = reference_facts(self._instrument.references)
                files.write_json(self._store.folder / "reference.json", facts)
            self._store.announce(self._name, [listed(planned) for planned in self._plans], self._options.batch)
            for planned in self._again:
                planned.forgive()
            if self._options.wait:
                self._measure()
                self._time()
                self._record(self._alive())
            else:
                left = self._leave()
        failed = len(self._failed)
        return Tally(len(self._open) - failed - left, self._skipped, failed + self._known_failures, left)

    def outlook(self) -> str:
        """What is to be done on the cluster, in lines; nothing is submitted."""
        from harness.cluster.outlook import outlook  # late: laptops need no submitit

        return outlook(self._cluster(lambda line: None), self._waves(), len(self._plans))

    def _record(self, measured: Sequence[Plan]) -> None:
        """Write the records of trials that have gone through their stages."""
        for planned in measured:
            if _status(self._store.read(planned.name, planned.key)) != "done":  # another driver may have been here
                record, arrays = assemble(planned, self._instrument, {**self._about, "finished": provenance.now()})
                self._store.write(record, arrays)

    def _leave(self) -> int:
        """Submit all that is to be done; how many trials that leaves to the cluster."""
        measured = [planned for planned in self._open if all(planned.done(stage) for stage in planned.stages)]
        self._record(measured)  # an earlier driver has been here
        progress = Progress(0, "trials", self._stream)
        cluster = self._cluster(progress.say)
        for job, failure in cluster.given_up([job for wave in self._waves() for job in wave]):
            if job.plan.key not in self._failed:
                self._fail(job.plan, failure, progress)
        cluster.leave(self._waves(), self._about)
        return len(self._alive()) - len(measured)

    def _waves(self) -> list[list[Job]]:
        """All open jobs: those that can begin at once, those that need them, the timing."""
        alive = self._alive()
        first = [job for planned in alive for job in jobs(planned, self._options.batch)]
        unmerged = [planned for planned in alive if not (planned.done("generate") and planned.done("quality"))]
        untimed = [planned for planned in alive if not planned.done("timing")]
        return [
            first,
            [Job(planned, "quality") for planned in unmerged],
            [Job(planned, "timing") for planned in untimed],
        ]

    def _alive(self) -> list[Plan]:
        return [planned for planned in self._open if planned.key not in self._failed]

    def _preflight(self) -> None:
        """Load every method once: damaged weights are told before hours have gone into the others."""
        for planned in _one_each(self._open):
            planned.load_method()

    def _measure(self) -> None:
        """Stages generate, quality and flops of all open trials."""
        queue: Queue = deque()
        missing: Counter[str] = Counter()
        for planned in self._open:
            for job in jobs(planned, self._options.batch):
                queue.append(job)
                missing[planned.key] += job.stage == "generate"
            if not missing[planned.key] and not (planned.done("generate") and planned.done("quality")):
                queue.append(Job(planned, "quality"))
        progress = Progress(sum(len(job.indices) for job in queue), "images", self._stream)
        for job in self._finished(queue, progress, lambda job: len(job.indices)):
            if job.stage == "generate":
                missing[job.plan.key] -= 1
                if not missing[job.plan.key]:
                    queue.appendleft(Job(job.plan, "quality"))

    def _time(self) -> None:
        """The timing stage of all trials that lack it, in one session: nothing else of ours runs now."""
        queue = deque(Job(planned, "timing") for planned in self._alive() if not planned.done("timing"))
        for _ in self._finished(queue, Progress(len(queue), "trials", self._stream), lambda job: 1):
            pass

    def _finished(self, queue: Queue, progress: Progress, weight: Callable[[Job], int]) -> Iterator[Job]:
        """Have a queue's jobs done; yields those that succeed. A job that fails takes its trial's others with it."""
        try:
            for job, failure in self._executor(queue, progress).run(queue) if queue else ():
                if job.plan.key in self._failed:
                    continue
                if failure is None:
                    progress.advance(weight(job), job.plan.name)
                    yield job
                else:
                    progress.reduce(sum(weight(gone) for gone in [job, *_withdraw(queue, job.plan)]))
                    self._fail(job.plan, failure, progress)
        finally:
            progress.close()

    def _executor(self, queue: Queue, progress: Progress) -> Executor:
        if self._options.cluster is not None:
            return self._cluster(progress.say)
        if not self._options.workers or queue[0].stage == "timing":
            return Here(self._bench, throttled(progress.say))
        return Workers(self._bench, min(self._options.workers, len(queue)), self._store.folder / "logs")

    def _cluster(self, tell: Callable[[str], None]) -> "Cluster":
        from harness.cluster.executor import Cluster, Settings  # late: laptops need no submitit

        bench = self._bench.at(self._options.device)
        return Cluster(bench, self._store, self._options.cluster or Settings(), tell)

    def _fail(self, planned: Plan, failure: Failure, progress: Progress) -> None:
        """Record a trial as failed, unless another runner has finished it meanwhile."""
        self._failed.add(planned.key)
        if _status(self._store.read(planned.name, planned.key)) == "done":
            return
        progress.say(f"failed: {planned.name}: {failure.stage}: {failure.reason}")
        about = origin(planned, self._instrument, {**self._about, "finished": provenance.now()})
        self._store.write({**heading(planned, "failed"), "failure": asdict(failure), "provenance": about})


def _status(record: Record | None) -> str | None:
    return None if record is None else record["status"]


def _one_each(plans: Sequence[Plan]) -> list[Plan]:
    """The first plan of each kind."""
    return list({planned.kind: planned for planned in reversed(plans)}.values())[::-1]


def _withdraw(queue: Queue, planned: Plan) -> list[Job]:
    """Take a trial's jobs out of the queue; returns them."""
    gone = [job for job in queue if job.plan.key == planned.key]
    kept = [job for job in queue if job.plan.key != planned.key]
    queue.clear()
    queue.extend(kept)
    return gone
