"""The part ``same``: a trial's images are the same, bit for bit, in 1, 3 and 8 shards, and in two processes, one of
which is killed and started again."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.execution.modes import resolved
from harness.stages.generate.shards import Arrays
from tests.programs.gpu.known import ROOT
from tests.programs.gpu.lines import Bound, Line, failed, judged
from tests.programs.gpu.parts import LONGEST, Bench, broke
from tests.programs.gpu.settings import FAKE
from tests.programs.gpu.trials import Maker, groups, share_alike
from tests.programs.gpu.worker import ranges, shards_of

PROCESSES = 2
ALL = Bound(least=1.0, unit="%")
POLL_S = 0.05


def run(bench: Bench) -> Iterator[Line]:
    """Compare all trials, in this process and in others."""
    capture, cuts = resolved(bench.settings.capture, bench.device), bench.settings.cuts
    work = bench.folder / "shards"
    found = bench.figures["same"] = {}
    whole: dict[str, Arrays] = {}
    with _workers(bench, work) as workers:
        killed = _kill(workers[-1], bench, work)
        workers[-1] = _start(bench, work, PROCESSES - 1)
        for group in groups(bench.settings):
            alike: dict[str, float] = {}
            for trial in group.trials:
                try:
                    maker = Maker(trial, bench.device, capture)
                    whole[trial.name] = one = maker.cut(1)
                    shares = {str(count): share_alike(one, maker.cut(count)) for count in cuts}
                except Exception as error:  # one trial's fault must not cost the others their results
                    yield broke(bench, "3", f"{trial.name} in shards", error)
                    continue
                found[trial.name] = {"shards": shares}
                alike[trial.name] = min(shares.values())
                bench.tell(f"same: {trial.name}: {alike[trial.name]:.2%} of the images")
            if alike:
                yield worst(f"{group.name}: same images in 1, {', '.join(map(str, cuts))} shards", alike)
        faults = [fault for one in workers if (fault := _ended(one))]
    there = {trial.name: shards for trial, shards in shards_of(work, bench.settings) if not shards.gaps()}
    how = f"{PROCESSES} processes, {'one killed and resumed' if killed else 'one started twice, none killed'}"
    for group in groups(bench.settings):
        names = [trial.name for trial in group.trials if trial.name in whole and trial.name in there]
        alike = {name: share_alike(whole[name], there[name].merge()) for name in names}
        for name, share in alike.items():
            found.setdefault(name, {})["processes"] = share
        if alike:
            yield worst(f"{group.name}: same images in {how}", alike)
    yield from (failed("3", "a process that computes shards", fault) for fault in faults)


def worst(name: str, shares: Mapping[str, float]) -> Line:
    """The line of the trial that does worst. shares: by trial, the share of images that are the same"""
    least = min(shares, key=lambda trial: shares[trial])
    return judged("3", name, ALL, shares[least], f"({least})" if shares[least] < 1 else "")


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
    return "" if code == 0 else f"exit code {code}: {said[-LONGEST:]}"
