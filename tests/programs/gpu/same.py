"""The part ``same``: a trial's images are the same, bit for bit, in 1, 3 and 8 shards, and in two processes, one of
which is killed and started again."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.execution.modes import resolved
from harness.stages.generate.shards import Arrays
from tests.programs.gpu.known import ROOT
from tests.programs.gpu.lines import Bound, Line, failed, judged
from tests.programs.gpu.parts import LONGEST, Bench, broke
from tests.programs.gpu.settings import FAKE
from tests.programs.gpu.trials import Group, Maker, groups, share_alike
from tests.programs.gpu.worker import died, shards_of

PROCESSES = 2
ALL = Bound(least=1.0, unit="%")
POLL_S = 0.05
DEATHS = 12
"""A process is started again at most so many times."""


def run(bench: Bench) -> Iterator[Line]:
    """Compare all trials, in this process and in others."""
    work = bench.folder / "shards"
    work.mkdir(parents=True, exist_ok=True)
    bench.figures["same"] = {}
    whole: dict[str, Arrays] = {}
    with _workers(bench, work) as workers:
        for group in groups(bench.settings):
            yield from _in_shards(group, bench, whole, workers)
        yield from _in_processes(bench, work, whole, workers)
        faults = [fault for one in workers if (fault := one.fault())]
    yield from (failed("3", "a process that computes shards", fault) for fault in faults)


def _in_shards(group: Group, bench: Bench, whole: dict[str, Arrays], workers: "Sequence[_Worker]") -> Iterator[Line]:
    """Compare each trial of a group in several shards with the same in one, which is added to ``whole``."""
    capture, cuts = resolved(bench.settings.capture, bench.device), bench.settings.cuts
    alike: dict[str, float] = {}
    for trial in group.trials:
        for one in workers:
            one.revive()
        try:
            maker = Maker(trial, bench.device, capture)
            whole[trial.name] = arrays = maker.cut(1)
            shares = {str(count): share_alike(arrays, maker.cut(count)) for count in cuts}
        except Exception as error:  # one trial's fault must not cost the others their results
            yield broke(bench, "3", f"{group.name}: {trial.name} in shards", error)
            continue
        bench.figures["same"][trial.name] = {"shards": shares}
        alike[trial.name] = min(shares.values())
        bench.tell(f"same: {trial.name}: {alike[trial.name]:.2%} of the images")
    if alike:
        yield worst(f"{group.name}: same images in 1, {', '.join(map(str, cuts))} shards", alike)


def _in_processes(
    bench: Bench, work: Path, whole: Mapping[str, Arrays], workers: "Sequence[_Worker]"
) -> Iterator[Line]:
    """Compare what the processes have computed with ``whole``, as soon as they have computed a group."""
    kept = enumerate(shards_of(work, bench.settings))
    for group in groups(bench.settings):
        alike: dict[str, float] = {}
        killed = False
        for _, (place, (trial, shards)) in zip(group.trials, kept, strict=False):
            while shards.gaps() and any(one.revive() for one in workers):
                time.sleep(POLL_S)
            killed |= died(work, place).exists()
            if shards.gaps():
                yield failed("3", f"{group.name}: {trial.name} in processes", "not all shards were computed")
            elif trial.name in whole:
                share = alike[trial.name] = share_alike(whole[trial.name], shards.merge())
                bench.figures["same"].setdefault(trial.name, {})["processes"] = share
        if alike:
            how = f"{PROCESSES} processes{', one killed and resumed' if killed else ''}"
            yield worst(f"{group.name}: same images in {how}", alike)


def worst(name: str, shares: Mapping[str, float]) -> Line:
    """The line of the trial that does worst. shares: by trial, the share of images that are the same"""
    least = min(shares, key=lambda trial: shares[trial])
    return judged("3", name, ALL, shares[least], f"({least})" if shares[least] < 1 else "")


@dataclass
class _Worker:
    """A process that computes shards, and the file of what it prints."""

    command: list[str]
    log: Path
    process: "subprocess.Popen[bytes]"
    deaths: int = 0

    def revive(self) -> bool:
        """Start the process again if it was killed. Returns whether it runs."""
        code = self.process.poll()
        if code == -signal.SIGKILL and self.deaths < DEATHS:
            self.deaths += 1
            self.process = _started(self.command, self.log)
            return True
        return code is None

    def fault(self) -> str:
        """Wait for the process. Returns why it failed; empty if it did not."""
        while self.revive():
            time.sleep(POLL_S)
        code = self.process.wait()
        said = " ".join(self.log.read_text(errors="replace").split())
        return "" if code == 0 else f"exit code {code}: {said[-LONGEST:]}"


@contextmanager
def _workers(bench: Bench, work: Path) -> Iterator[list[_Worker]]:
    """The processes that compute shards. The first of them is killed now and then. On leaving, those that still run are
    ended."""
    workers = []
    try:
        for share in range(PROCESSES):
            command = [sys.executable, "-m", "tests.programs.gpu.worker", str(work), str(share), str(PROCESSES)]
            command += ["--device", str(bench.device), *(["--fake"] if bench.settings is FAKE else [])]
            command += ["--die"] if share == 0 else []
            log = bench.folder / f"process-{share}.log"
            workers.append(_Worker(command, log, _started(command, log)))
        yield workers
    finally:
        for one in workers:
            one.process.kill()
            one.process.wait()


def _started(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
