"""The driver: takes the trials of a sweep through their stages and writes their records.

All that does not depend on the machine's quiet (generate, quality, flops) runs first, in worker processes; then timing,
in this process, alone. Every stage leaves a file in the store, so a run that was killed goes on where it stopped.
"""

import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from harness import devices, extractors, files, provenance
from harness.bench import Bench, Failure, last_lines
from harness.errors import ArbenchError
from harness.extractors import INCEPTION
from harness.facts import reference_facts
from harness.heap import keep_heap
from harness.method import Method
from harness.plan import Instrument, Job, Plan, assemble, heading, jobs, plan, protocol
from harness.plan import provenance as origin
from harness.progress import Progress, throttled
from harness.setup import Setup
from harness.stages.timing import Protocol, interleaved
from harness.store import Record, Store
from harness.sweep import Sweep
from harness.workers import Here, Queue, Workers


@dataclass(frozen=True)
class Options:
    """How a sweep is run, which no record depends on but for ``inception`` and ``reference``.

    workers: processes, 0 for this one alone; batch: images a shard; inception: Inception weights, for its FID beside
    that of the sweep's extractor or, where that is Inception itself, for it; reference: of data that do not ship with
    us; device: torch's name of it, ``cuda`` for all GPUs in turn.
    """

    workers: int = 1
    batch: int = 250
    retry_failed: bool = False
    inception: Path | None = None
    reference: Path | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Tally:
    """How a run ended: numbers of trials. failed: also those that an earlier run had recorded as failed."""

    recorded: int
    skipped: int
    failed: int

    def __str__(self) -> str:
        total = self.recorded + self.skipped + self.failed
        return f"{total} trials: {self.recorded} measured, {self.skipped} already recorded, {self.failed} failed"


def run(sweep: Sweep, store: Store, options: Options, stream: TextIO | None = None) -> Tally:
    """Run a sweep; records go to ``store``, progress to ``stream`` (stderr by default).

    Raises ArbenchError, before anything is computed, for a store that cannot be written, weights that cannot be loaded
    and a wrong timing protocol. A trial that fails is recorded as failed, and the others go on.
    """
    keep_heap()
    devices.checked(options.device)
    timing = protocol(sweep.timing, sweep.name)
    store.prepare()
    trained = [trial for trial in sweep.trials if trial.setup.weights == "trained"]
    data = list(dict.fromkeys(trial.owner.preset_named(trial.preset).data for trial in trained))
    named = _extractors(sweep, data, options.inception)
    bench = Bench(named, store.folder / "references", options.reference, options.device)
    instrument = Instrument(named, {name: bench.references(name) for name in data}, timing)
    plans = [plan(trial, instrument, store) for trial in sweep.trials]
    return Run(plans, instrument, store, bench, options, stream or sys.stderr).all()


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
        plans: Sequence[Plan],
        instrument: Instrument,
        store: Store,
        bench: Bench,
        options: Options,
        stream: TextIO,
    ) -> None:
        self._instrument, self._store, self._bench = instrument, store, bench
        self._options, self._stream = options, stream
        before = {planned.key: store.read(planned.name, planned.key) for planned in plans}
        self._skipped = sum(_status(before[planned.key]) == "done" for planned in plans)
        known = () if options.retry_failed else ("done", "failed")
        self._known_failures = sum(_status(before[planned.key]) == "failed" for planned in plans) if known else 0
        self._open = [planned for planned in plans if _status(before[planned.key]) not in (known or ("done",))]
        self._failed: set[str] = set()
        self._about: dict[str, Any] = {}

    def all(self) -> Tally:
        """Take every open trial to its record."""
        if self._open:
            self._about = {**provenance.gather(), "started": provenance.now()}
            self._preflight()
            if self._instrument.references:
                facts = reference_facts(self._instrument.references)
                files.write_json(self._store.folder / "reference.json", facts)
            self._measure()
            self._time()
            for planned in self._alive():
                record, arrays = assemble(planned, self._instrument, {**self._about, "finished": provenance.now()})
                self._store.write(record, arrays)
        failed = len(self._failed)
        return Tally(len(self._open) - failed, self._skipped, failed + self._known_failures)

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
        if not queue:
            return
        progress = Progress(sum(len(job.indices) for job in queue), "images", self._stream)
        try:
            for job, failure in self._executor(len(queue)).run(queue):
                if job.plan.key in self._failed:
                    continue
                if failure is not None:
                    progress.reduce(_withdraw(queue, job.plan) + len(job.indices))
                    self._fail(job.plan, failure, progress)
                elif job.stage == "generate":
                    progress.advance(len(job.indices), job.plan.name)
                    missing[job.plan.key] -= 1
                    if not missing[job.plan.key]:
                        queue.appendleft(Job(job.plan, "quality"))
        finally:
            progress.close()

    def _executor(self, most: int) -> Here | Workers:
        if not self._options.workers:
            return Here(self._bench)
        return Workers(self._bench, min(self._options.workers, most), self._store.folder / "logs")

    def _time(self) -> None:
        """The timing stage of all trials that lack it, in one session: nothing else of ours runs now."""
        todo = [planned for planned in self._alive() if not planned.done("timing")]
        if not todo:
            return
        loaders = {_kind(planned): partial(_load, planned, self._bench.device) for planned in _one_each(todo)}
        cases = [(one.name, loaders[_kind(one)], one.trial.knobs, one.trial.sampling) for one in todo]
        progress = Progress(len(todo), "trials", self._stream)
        try:
            results = interleaved(cases, Protocol(**self._instrument.timing), throttled(progress.say))
            for planned, found in zip(todo, results, strict=True):
                if "failure" in found:
                    self._fail(planned, Failure("timing", found["failure"], last_lines(found["log"])), progress)
                else:
                    files.write_json(planned.stages["timing"], found)
                progress.advance(1)
        finally:
            progress.close()

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


def _kind(planned: Plan) -> tuple[str, str, Setup]:
    """Trials of one kind share a loaded method."""
    return planned.trial.method, planned.trial.preset, planned.trial.setup


def _one_each(plans: Sequence[Plan]) -> list[Plan]:
    """The first plan of each kind."""
    return list({_kind(planned): planned for planned in reversed(plans)}.values())[::-1]


def _load(planned: Plan, device: str) -> Method:
    return planned.load_method().to(device)


def _withdraw(queue: Queue, planned: Plan) -> int:
    """Take a trial's jobs out of the queue; how many images they would have made."""
    gone = [job for job in queue if job.plan.key == planned.key]
    kept = [job for job in queue if job.plan.key != planned.key]
    queue.clear()
    queue.extend(kept)
    return sum(len(job.indices) for job in gone)
