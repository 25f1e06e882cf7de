"""The part ``same``: a trial's images are the same, bit for bit, in 1, 3 and 8 shards, and in two processes, one of
which is killed and started again."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.execution.modes import resolved
from harness.stages.generate.shards import Arrays
from tests.programs.gpu.known import ROOT
from tests.programs.gpu.lines import Bound, Line, failed, judged
from tests.programs.gpu.parts import Bench
from tests.programs.gpu.settings import FAKE
from tests.programs.gpu.trials import Maker, groups, share_alike
from tests.programs.gpu.worker import ranges, shards_of

CUTS = (3, 8)
"""Numbers of shards that are compared with one shard."""
PROCESSES = 2
ALL = Bound(least=1.0, unit="%")
POLL_S = 0.05


def run(bench: Bench) -> list[Line]:
    """Compare all trials, in this process and in others."""
    capture = resolved(bench.settings.capture, bench.device)
    work = bench.folder / "shards"
    found: list[dict[str, Any]] = []
    whole: list[Arrays] = []
    with _workers(bench, work) as workers:
        killed = _kill(workers[-1], bench, work)
        workers[-1] = _start(bench, work, PROCESSES - 1)
        for group in groups(bench.settings):
            for trial in group.trials:
                maker = Maker(trial, bench.device, capture)
                one = maker.cut(1)
                alike = {str(count): share_alike(one, maker.cut(count)) for count in CUTS}
                found.append({"group": group.name, "trial": trial.name, "shards": alike})
                whole.append(one)
                bench.tell(f"same: {trial.name}: {min(alike.values()):.2%} of the images")
        faults = [fault for one in workers if (fault := _ended(one))]
    bench.figures["same"] = {"trials": found, "killed": killed, "faults": faults}
    if not faults:
        for entry, one, (_, shards) in zip(found, whole, shards_of(work, bench.settings), strict=True):
            entry["processes"] = share_alike(one, shards.merge())
    return [*lines_of(found, killed), *(failed("3", "a process that computes shards", fault) for fault in faults)]


def lines_of(found: Sequence[dict[str, Any]], killed: bool) -> list[Line]:
    """The lines of the part: for each group of trials, the trial that does worst.

    found: for each trial its ``group``, its name, and the shares of images that are the same: ``shards``, by number of
    shards, and ``processes``, which is left out if the processes failed.
    killed: whether a process was killed and started again.
    """
    made = []
    how = f"{PROCESSES} processes, {'one killed and resumed' if killed else 'one started twice, none killed'}"
    for group in dict.fromkeys(one["group"] for one in found):
        trials = [one for one in found if one["group"] == group]
        in_shards = {one["trial"]: min(one["shards"].values()) for one in trials}
        cuts = ", ".join(map(str, CUTS[:-1]))
        made.append(_worst(f"{group}: same images in 1, {cuts} and {CUTS[-1]} shards", in_shards))
        in_processes = {one["trial"]: one["processes"] for one in trials if "processes" in one}
        if in_processes:
            made.append(_worst(f"{group}: same images in {how}", in_processes))
    return made


def _worst(name: str, shares: dict[str, float]) -> Line:
    worst = min(shares, key=lambda trial: shares[trial])
    return judged("3", name, ALL, shares[worst], f"({worst})" if shares[worst] < 1 else "")


@dataclass
class _Worker:
    """A process that computes shards, and the file of what it prints."""

    process: "subprocess.Popen[bytes]"
    log: Path


@contextmanager
def _workers(bench: Bench, work: Path) -> Iterator[list[_Worker]]:
    """The processes that compute shards. On leaving, those that still run are ended."""
    workers = [_start(bench, work, share) for share in range(PROCESSES)]
    try:
        yield workers
    finally:
        for one in workers:
            one.process.kill()
            one.process.wait()


def _start(bench: Bench, work: Path, share: int) -> _Worker:
    command = [sys.executable, "-m", "tests.programs.gpu.worker", str(work), str(share), str(PROCESSES)]
    command += ["--device", str(bench.device), *(["--fake"] if bench.settings is FAKE else [])]
    log = bench.folder / f"process-{share}.log"
    with log.open("ab") as file:
        return _Worker(subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file), log)


def _kill(worker: _Worker, bench: Bench, work: Path) -> bool:
    """Kill the last process as soon as it has written a shard. Returns whether it was killed; False if it had ended by
    itself."""
    expected = [
        shards.path(indices)
        for trial, shards in shards_of(work, bench.settings)
        for indices in ranges(trial)[PROCESSES - 1 :: PROCESSES]
    ]
    while worker.process.poll() is None and not any(path.exists() for path in expected):
        time.sleep(POLL_S)
    worker.process.kill()
    return worker.process.wait() < 0


def _ended(worker: _Worker) -> str:
    """Wait for a process. Returns why it failed; empty if it did not."""
    code = worker.process.wait()
    said = " ".join(worker.log.read_text(errors="replace").split())
    return "" if code == 0 else f"exit code {code}: {said[-200:]}"
