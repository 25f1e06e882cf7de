"""The driver: takes the trials of a sweep through their stages and writes their records.

The stages generate, quality and flops run first, in worker processes. Timing runs last, in this process. The run does
nothing else during timing, because other work on the machine would disturb the times.

Every stage writes its results to a file in the store. If a run is killed, the next run uses these files and does only
the rest.
"""

import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from harness import files
from harness.errors import ArbenchError
from harness.extractors import by_name
from harness.extractors.base import INCEPTION
from harness.identity import provenance
from harness.jobs import loading
from harness.jobs.assembly import assemble, heading, origin
from harness.jobs.bench import Bench, Failure
from harness.jobs.executors import Elsewhere, Executor, Here, Queue, Remote, Tables, Workers
from harness.jobs.plan import Instrument, Job, TrialPlan, jobs, listed, plan
from harness.machine import devices
from harness.machine.heap import keep_heap
from harness.progress import Progress, counted, throttled
from harness.records.store import Record, Store, timed
from harness.run.limits import reference_facts
from harness.run.live import LiveReport
from harness.run.selection import Checkpoints, checkpoint_of, on_own_weights
from harness.sweep import Sweep


@dataclass(frozen=True)
class Options:
    """Options of a run. Only ``inception``, ``reference`` and ``checkpoints`` influence records."""

    workers: int = 1  # number of worker processes; 0: this process does all jobs
    batch: int = 250  # images per shard, before rounding up (``harness.stages.generate.shards.shard_size``)
    retry_failed: bool = False
    inception: Path | None = None  # Inception weights, for an Inception FID beside the FID of the sweep's extractor
    reference: Path | None = None  # reference images or statistics of data that do not ship with arbench
    device: str = "cpu"  # torch's name of the device; ``cuda``: all GPUs in turn
    cluster: Elsewhere | None = None  # who does the jobs; None: processes here
    wait: bool = True  # False: return once everything is submitted to the cluster
    timing: bool = True  # False: records without timing, which a later run adds
    checkpoints: Checkpoints = field(default_factory=dict)  # files of the user that replace weights
    report: Path | None = None  # folder of the report that is written while the run goes on


@dataclass(frozen=True)
class Tally:
    """The result of a run: for each outcome, the number of trials."""

    recorded: int  # trials that this run has measured
    skipped: int  # trials that were complete before this run
    failed: int  # also trials that an earlier run has recorded as failed
    left: int = 0  # trials that are left to a cluster

    def __str__(self) -> str:
        total = counted(self.recorded + self.skipped + self.failed + self.left, "trial")
        said = f"{total}: {self.recorded} measured, {self.skipped} already recorded, {self.failed} failed"
        return f"{said}, {self.left} left to the cluster" if self.left else said


def run(sweep: Sweep, store: Store, options: Options, stream: TextIO | None = None) -> Tally:
    """Run a sweep. Records go to ``store``, progress to ``stream`` (stderr by default).

    Raises ArbenchError, before anything is computed, for a store that cannot be written, weights that cannot be loaded
    and a wrong timing protocol. A trial that fails is recorded as failed, and the others go on.
    """
    keep_heap()
    fresh = not store.folder.exists()
    try:
        return prepared(sweep, store, options, stream).all()
    except ArbenchError:
        if fresh and options.reference is None:  # the features of a user's reference may have taken an hour
            store.withdraw()
        raise


def prepared(sweep: Sweep, store: Store, options: Options, stream: TextIO | None = None) -> "Run":
    """A run that is ready to begin. Raises as ``run`` does."""
    sweep = replace(sweep, trials=on_own_weights(sweep.trials, options.checkpoints))
    if not (options.timing or options.wait):
        raise ArbenchError(
            "--no-timing with --no-wait: jobs on the cluster write a record when they have timed its trial"
        )
    if options.cluster is None:
        device = devices.checked(options.device)
    else:
        device = devices.named(options.device)  # the jobs' machines have it; this machine need not
        options.cluster.check(sweep.cluster, options.wait)
    sweep = replace(sweep, timing=sweep.timing.on(device, here=options.cluster is None))
    store.prepare()
    trained = [trial for trial in sweep.trials if trial.setup.weights != "random"]
    data = list(dict.fromkeys(trial.owner.preset_named(trial.preset).data for trial in trained))
    named = _extractors(sweep, data, options.inception)
    here = options.device if options.cluster is None else "cpu"
    bench = Bench(named, store.folder.absolute() / "references", sweep.timing, options.reference, here)
    instrument = Instrument(named, {name: bench.references(name) for name in data}, sweep.timing)
    plans = [plan(trial, instrument, store, checkpoint_of(trial, options.checkpoints)) for trial in sweep.trials]
    tables = {one.maker.key: given for one, given in zip(plans, sweep.cluster, strict=False)}
    tables |= {one.key: given for one, given in zip(plans, sweep.cluster, strict=False)}
    return Run(sweep.name, plans, instrument, store, bench, options, tables, stream or sys.stderr)


def _extractors(sweep: Sweep, data: Sequence[str], inception: Path | None) -> tuple[tuple[str, Path | None], ...]:
    """The extractors of a sweep, as pairs (name, weights). The first is the extractor that the sweep names. If the
    sweep names none, the first is the default extractor of the data set (``by_name.usual``). If Inception weights are
    given and Inception is not the first extractor, Inception is the second."""
    if not data:
        return ()
    if len(data) > 1:
        raise ArbenchError(f"{sweep.name}: data {', '.join(data)} have references of their own: make a sweep of each")
    first = sweep.extractor or by_name.usual(data[0])
    if first == INCEPTION:
        return ((INCEPTION, inception),)
    return ((first, None), *([(INCEPTION, inception)] if inception else []))


class Run:
    """One run of a sweep: holds the plans of the sweep's trials, and carries them out."""

    def __init__(
        self,
        name: str,
        plans: Sequence[TrialPlan],
        instrument: Instrument,
        store: Store,
        bench: Bench,
        options: Options,
        tables: Mapping[str, Tables],
        stream: TextIO,
    ) -> None:
        self._name, self._plans, self._tables = name, plans, tables
        self._instrument, self._store, self._bench = instrument, store, bench
        self._options, self._stream = options, stream
        before = {planned.key: store.read(planned.name, planned.key) for planned in plans}
        complete = {planned.key for planned in plans if self._complete(before[planned.key])}
        bad = {planned.key for planned in plans if _status(before[planned.key]) == "failed"}
        self._skipped, self._known_failures = len(complete), 0 if options.retry_failed else len(bad)
        known = complete if options.retry_failed else complete | bad
        self._open = _one_of_each_first([planned for planned in plans if planned.key not in known])
        self._again = [planned for planned in self._open if planned.key in bad]
        self._by_key: dict[str, list[TrialPlan]] = defaultdict(list)  # by key of a trial, or of its maker
        for planned in self._open:
            for key in {planned.key, planned.maker.key}:
                self._by_key[key].append(planned)
        self._failed: set[str] = set()
        self._about: dict[str, Any] = {}
        self._live = None if options.report is None else LiveReport(store.folder, options.report)

    def all(self) -> Tally:
        """Measure all open trials and write their records. A trial is open if this run still has to measure it.

        With ``--no-wait``, the jobs of the open trials are submitted to a cluster instead, and this function does not
        wait for them.
        """
        left = 0
        if self._open:
            self._about = {**provenance.gather(), "device": self._options.device, "started": provenance.now()}
            self._preflight()
            if self._instrument.references:
                facts = reference_facts(self._instrument.references)
                files.write_json(self._store.folder / "reference.json", facts)
            self._store.announce(self._name, [listed(planned) for planned in self._plans], self._options.batch)
            for planned in self._again:
                planned.forgive()
            if self._options.wait:
                try:
                    self._measure()
                    if self._options.timing:
                        self._time()
                    self._record(self._alive())
                finally:
                    if self._live is not None:
                        self._live.stop()
            else:
                left = self._leave()
        if self._live is not None:
            self._live.write(self._standing("nothing of it runs here now.") if left else "")
        failed = len(self._failed)
        return Tally(len(self._open) - failed - left, self._skipped, failed + self._known_failures, left)

    def outlook(self) -> str:
        """A text of several lines: which jobs this run would submit to a cluster. Nothing is submitted."""
        return self._elsewhere(lambda line: None).outlook(self._waves(), len(self._plans))

    def _complete(self, record: Record | None) -> bool:
        """Whether a record has everything that this run is to measure."""
        return record is not None and (timed(record) or (not self._options.timing and record["status"] == "done"))

    def _record(self, measured: Sequence[TrialPlan]) -> None:
        """Write the records of trials that have done all stages, or all but timing. A record without timing is written
        again when the trial's timing is there."""
        for planned in measured:
            there = self._store.read(planned.name, planned.key)  # another driver may have written it
            if _status(there) != "done" or (planned.done("timing") and not self._complete(there)):
                record, arrays = assemble(planned, self._instrument, {**self._about, "finished": provenance.now()})
                self._store.write(record, arrays)

    def _standing(self, then: str) -> str:
        """A sentence that says how much of the run is done. It is for the top of a report that is not the final one.

        then: the end of the sentence, such as "this page is written anew as trials finish."
        """
        records = [self._store.read(planned.name, planned.key) for planned in self._plans]
        done = sum(_status(record) == "done" for record in records)
        text = f"As of {time.strftime('%H:%M')}: {done} of {counted(len(records), 'trial')} measured"
        untimed = self._options.timing and not all(record and record.get("timing") for record in records)
        return f"{text}{'; timing is still to come' if untimed else ''}; {then}"

    def _leave(self) -> int:
        """Submit the jobs of all open trials to the cluster; returns how many trials the cluster has to finish."""
        measured = [planned for planned in self._open if planned.measured and planned.done("timing")]
        self._record(measured)  # their stages are done, but no driver has written their records
        progress = Progress(0, "trials", self._stream)
        cluster = self._elsewhere(progress.say)
        for job, failure in cluster.given_up([job for wave in self._waves() for job in wave]):
            if failure is not None:
                self._fail_all(job, failure, progress)
        cluster.leave(self._waves(), self._about)
        return len(self._alive()) - len(measured)

    def _waves(self) -> list[list[Job]]:
        """All jobs that the open trials still need, in three waves: jobs that can begin at once, then jobs that need
        the results of the first wave, then timing."""
        alive = self._alive()
        first = _distinct(job for planned in alive for job in jobs(planned, self._options.batch))
        unmerged = [planned for planned in alive if not (planned.done("generate") and planned.done("quality"))]
        untimed = [planned for planned in alive if not planned.done("timing")] if self._options.timing else []
        return [
            first,
            _distinct(Job(planned.maker, "quality") for planned in unmerged),
            [Job(planned, "timing") for planned in untimed],
        ]

    def _alive(self) -> list[TrialPlan]:
        return [planned for planned in self._open if planned.key not in self._failed]

    def _preflight(self) -> None:
        """Load every method once, so that damaged weights are reported before hours have gone into other methods."""
        for planned in _one_each(self._open):
            loading.load(planned)

    def _measure(self) -> None:
        """Do the stages ``generate``, ``quality`` and ``flops`` of all open trials."""
        found: list[Job] = []
        for planned in self._open:
            several = list(jobs(planned, self._options.batch))
            found += several
            sampling = any(job.stage == "generate" for job in several)
            if not sampling and not (planned.done("generate") and planned.done("quality")):
                found.append(Job(planned.maker, "quality"))
        queue: Queue = deque(_distinct(found))
        missing = Counter(job.plan.key for job in queue if job.stage == "generate")
        progress = Progress(sum(len(job.indices) for job in queue), "images", self._stream)
        for job in self._finished(queue, progress, lambda job: len(job.indices)):
            if job.stage == "generate":
                missing[job.plan.key] -= 1
                if not missing[job.plan.key]:
                    queue.appendleft(Job(job.plan, "quality"))
            else:
                self._record([planned for planned in self._users(job) if planned.measured])
            self._look()

    def _look(self) -> None:
        """Start to write a new report, if one is due."""
        if self._live is not None and self._live.due():
            self._live.start(self._standing("this page is written anew as trials finish."))

    def _time(self) -> None:
        """Time all trials that lack timing, in one session. Nothing else of this run goes on meanwhile."""
        queue = deque(Job(planned, "timing") for planned in self._alive() if not planned.done("timing"))
        if self._live is not None and queue:  # now rather than during timing
            self._live.write(self._standing("this page is written anew when it is taken."))
        for _ in self._finished(queue, Progress(len(queue), "trials", self._stream), lambda job: 1):
            pass

    def _finished(self, queue: Queue, progress: Progress, weight: Callable[[Job], int]) -> Iterator[Job]:
        """Do the jobs of a queue; yields the jobs that succeed. If a job fails, the trials that need it fail, and their
        other jobs are removed from the queue."""
        try:
            for job, failure in self._executor(queue, progress).run(queue) if queue else ():
                if not self._users(job):
                    continue
                if failure is None:
                    progress.advance(weight(job), job.plan.name)
                    yield job
                else:
                    gone = [job, *_withdraw(queue, [job.plan, *self._users(job)])]
                    progress.reduce(sum(weight(one) for one in gone))
                    self._fail_all(job, failure, progress)
        finally:
            progress.close()

    def _executor(self, queue: Queue, progress: Progress) -> Executor:
        if self._options.cluster is not None:
            return self._elsewhere(progress.say)
        if not self._options.workers or queue[0].stage == "timing":
            return Here(self._bench, throttled(progress.say))
        return Workers(self._bench, min(self._options.workers, len(queue)), self._store.folder / "logs")

    def _elsewhere(self, tell: Callable[[str], None]) -> Remote:
        if self._options.cluster is None:
            raise ArbenchError("no cluster was named, to which the run's jobs could go")
        bench = self._bench.at(self._options.device)
        return self._options.cluster.executor(bench, self._store, self._tables, tell)

    def _users(self, job: Job) -> list[TrialPlan]:
        """The trials that need the results of a job. There can be several, because trials with the same images share
        jobs. Trials that have failed are left out."""
        return [planned for planned in self._by_key[job.plan.key] if planned.key not in self._failed]

    def _fail_all(self, job: Job, failure: Failure, progress: Progress) -> None:
        for planned in self._users(job):
            self._fail(planned, failure, progress)

    def _fail(self, planned: TrialPlan, failure: Failure, progress: Progress) -> None:
        """Record a trial as failed, unless another runner has finished it meanwhile."""
        self._failed.add(planned.key)
        if self._complete(self._store.read(planned.name, planned.key)):
            return
        progress.say(f"failed: {planned.name}: {failure.stage}: {failure.reason}")
        about = origin(planned, self._instrument, {**self._about, "finished": provenance.now()})
        self._store.write({**heading(planned, "failed"), "failure": asdict(failure), "provenance": about})


def _status(record: Record | None) -> str | None:
    return None if record is None else record["status"]


def _one_each(plans: Sequence[TrialPlan]) -> list[TrialPlan]:
    """For each combination of method, preset and setup: the first plan that has this combination."""
    return list({planned.kind: planned for planned in reversed(plans)}.values())[::-1]


def _one_of_each_first(plans: Sequence[TrialPlan]) -> list[TrialPlan]:
    """All plans, in another order: first the plans that ``_one_each`` chooses, then the others. So a report that is
    made early already shows all methods."""
    first = _one_each(plans)
    keys = {planned.key for planned in first}
    return [*first, *(planned for planned in plans if planned.key not in keys)]


def _distinct(several: Iterable[Job]) -> list[Job]:
    """The jobs, each once."""
    return list({job.id: job for job in several}.values())


def _withdraw(queue: Queue, plans: Sequence[TrialPlan]) -> list[Job]:
    """Remove the jobs of some trials from the queue; returns these jobs."""
    keys = {planned.key for planned in plans}
    gone = [job for job in queue if job.plan.key in keys]
    kept = [job for job in queue if job.plan.key not in keys]
    queue.clear()
    queue.extend(kept)
    return gone
