"""Executors do the jobs: in this process, or in local worker processes of one thread each. A third executor hands
jobs to a scheduler (harness/cluster/executor.py).

The driver (harness/run/driver.py) takes the trials of a sweep through their stages. It gives an executor a queue of
jobs. The driver can add jobs and remove jobs while the executor runs. The executor yields each job with the job's
failure, or with None if the job succeeded.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol

from harness.errors import ArbenchError
from harness.jobs.bench import Bench, Failure, last_lines
from harness.jobs.plan import Job
from harness.machine import devices
from harness.machine.children import variables
from harness.machine.cores import THREADS
from harness.machine.heap import keep_heap
from harness.records.store import Store

Outcome = tuple[Job, Failure | None]
Queue = deque[Job]
Tables = tuple[Mapping[str, Any], ...]
"""The TOML tables in which a sweep file gives one trial's options for a cluster (``Sweep.cluster``). These tables
override the site file. The site file is a TOML file with the options for all trials (harness/cluster/site.py)."""
DEATHS = 3
"""A job is given up when so many workers have died while they did it. The run is given up when so many workers have
died before their first job."""


class Executor(Protocol):
    """The interface that an executor offers to the driver of a sweep (harness/run/driver.py)."""

    def run(self, queue: Queue) -> Iterator[Outcome]:
        """Do jobs until the queue is empty and no job is being done."""


class Remote(Executor, Protocol):
    """An executor whose tasks (groups of jobs that a scheduler starts) can go on after the driver has ended."""

    def given_up(self, jobs: Sequence[Job]) -> list[Outcome]:
        """The jobs among ``jobs`` that were tried too often, each with its failure. They are not tried again."""

    def leave(self, waves: Sequence[Sequence[Job]], about: Mapping[str, Any]) -> int:
        """Submit all jobs to the scheduler, without waiting for them. Call ``given_up`` first.

        The executor groups the jobs into tasks, and submits the tasks. Returns the number of submitted tasks.

        waves: the jobs, in groups called waves. All waves are submitted now. The tasks of a wave start when the tasks
        of the wave before have ended. The tasks of the last wave write the records.

        about: the provenance for these records.
        """

    def outlook(self, waves: Sequence[Sequence[Job]], trials: int) -> str:
        """What ``leave`` would submit, in lines of text. trials: the number of trials in the sweep."""


class Elsewhere(Protocol):
    """The options of a command that concern a cluster. ``check`` checks these options. Then ``executor`` makes an
    executor for the driver from these options."""

    def check(self, tables: Collection[Tables], wait: bool) -> None:
        """Check everything that can be checked before anything is computed. Raises ArbenchError.

        tables: for each trial of the sweep, the TOML tables with the trial's options for a cluster. The tables come
        from the sweep file. These tables override the site file, a TOML file with the options for all trials
        (harness/cluster/site.py).

        wait: whether the driver will wait for the submitted tasks.
        """

    def executor(self, bench: Bench, store: Store, tables: Mapping[str, Tables], tell: Callable[[str], None]) -> Remote:
        """Make the executor.

        bench: the bench that does the jobs; it is sent to the tasks
        tables: a dict from the key of a trial's plan to the trial's tables, as in ``check``
        tell: called with each line of text that people should read
        """


class Here:
    """Does the jobs in this process, one after another. Timing jobs are done together, in one session."""

    def __init__(self, bench: Bench, tell: Callable[[str], None] = lambda line: None) -> None:
        self._bench, self._tell = bench, tell

    def run(self, queue: Queue) -> Iterator[Outcome]:
        """Do jobs until the queue is empty."""
        while queue:
            job = queue.popleft()
            if job.stage == "timing":
                session = [job, *(other for other in queue if other.stage == "timing")]
                queue.clear()
                yield from self._bench.session(session, self._tell)
            else:
                yield job, self._bench.attempt(job)


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    log: Path
    device: str
    ready: bool = False
    job: Job | None = None


class Workers:
    """Does the jobs in ``count`` processes. A worker that dies is replaced, and another worker does the dead worker's
    job again."""

    def __init__(self, bench: Bench, count: int, logs: Path) -> None:
        self._bench, self._count, self._logs = bench, count, logs
        self._made = 0
        self._deaths: Counter[str] = Counter()

    def run(self, queue: Queue) -> Iterator[Outcome]:
        """Do jobs until the queue is empty and no worker is busy. In every case, also after an error, all workers are
        ended."""
        workers: list[_Worker] = []
        try:
            while queue or any(worker.job for worker in workers):
                while queue and len(workers) < min(self._count, len(queue) + sum(bool(w.job) for w in workers)):
                    workers.append(self._start(devices.spread(self._bench.device, [one.device for one in workers])))
                for worker in workers:
                    if worker.ready and worker.job is None and queue:
                        _hand(worker, queue.popleft())
                heard = wait([worker.pipe for worker in workers])
                for worker in [worker for worker in workers if worker.pipe in heard]:
                    try:
                        message = worker.pipe.recv()
                    except (EOFError, OSError):
                        workers.remove(worker)
                        yield from self._bury(worker, queue)
                        continue
                    if worker.job is None:
                        worker.ready = True
                        continue
                    job, worker.job = worker.job, None
                    yield job, message
        finally:
            _stop(workers)

    def _start(self, device: str) -> _Worker:
        self._made += 1
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"worker-{os.getpid()}-{self._made}.log"
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._bench.at(device), log), daemon=True)
        with variables(dict.fromkeys(THREADS, "1")):  # libraries read these variables when they are loaded
            process.start()
        theirs.close()
        return _Worker(process, ours, log, device)

    def _bury(self, worker: _Worker, queue: Queue) -> Iterator[Outcome]:
        """Handle a worker's death: its job goes back to the queue, or is given up."""
        worker.process.join()
        end = _ending(worker.process.exitcode)
        log = _log_of(worker)
        job = worker.job
        place = "start" if job is None else job.id
        self._deaths[place] += 1
        given_up = self._deaths[place] >= DEATHS
        if job is None:
            if given_up:
                raise ArbenchError(f"{DEATHS} workers {end} before their first job; the last lines are in {worker.log}")
        elif given_up:
            yield job, Failure(job.stage, f"{DEATHS} workers {end} at this job", log)
        else:
            queue.appendleft(job)


def _hand(worker: _Worker, job: Job) -> None:
    worker.job = job
    with contextlib.suppress(OSError):  # reading from the pipe will show that the worker has died
        worker.pipe.send(job)


def _stop(workers: list[_Worker]) -> None:
    """End all workers: an idle worker ends when its pipe closes, the other workers are terminated."""
    for worker in workers:
        worker.pipe.close()
        if worker.job is not None or not worker.ready:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        with contextlib.suppress(OSError):
            if not worker.log.stat().st_size:
                worker.log.unlink()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"were killed by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"


def _log_of(worker: _Worker) -> str:
    try:
        return last_lines(worker.log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""


def _work(pipe: Connection, bench: Bench, log: Path) -> None:
    """What a worker process runs: jobs from the pipe, until the pipe is closed or the driver's process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal's processes: the driver decides
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # ends in an orderly way
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.enable()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    import torch  # late: the thread above watches the driver while torch loads

    torch.set_num_threads(1)
    keep_heap()
    with contextlib.suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            pipe.send(bench.attempt(pipe.recv()))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
