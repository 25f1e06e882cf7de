"""A place to try a sweep on a cluster, whatever its scheduler: a folder, and the commands of arbench for it."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from harness import cli
from harness.cluster.local import PROGRAM
from harness.machine.children import programs
from harness.records.store import Record, Store
from tests.helpers import sweeping

Found = TypeVar("Found")
PATIENCE_S = 600
"""For what takes seconds on a machine that has nothing else to do."""
SITE = f"""
python = "{sys.executable} -m tests.helpers.job"
cpus = 1
poll-seconds = 2
visibility-seconds = 2
"""


@dataclass(frozen=True)
class Place:
    """A folder with a sweep, a site file and a store, and the commands of arbench for it."""

    folder: Path
    cluster: str  # name of the scheduler
    empty: Callable[[], object]  # ends all of its tasks, and waits for that

    drivers: list[int] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def drive(self, command: list[str]) -> int:
        """Run a command of arbench in a process of its own, which does not outlive the test; its process id."""
        self.drivers.append(sweeping.fork(lambda: cli.main(command)))
        return self.drivers[-1]

    def end(self, driver: int, number: int = 0) -> int:
        """Send a signal to such a process, if one is given, and wait for its end; its exit code."""
        if number:
            os.kill(driver, number)
        code = sweeping.exit_code(driver)
        self.drivers.remove(driver)
        return code

    def end_all(self) -> None:
        """Kill the processes that are left."""
        for driver in list(self.drivers):
            self.end(driver, signal.SIGKILL)

    def wait(self, true: Callable[[], Found]) -> Found:
        """Wait until something is true, and return it; fails if a driver ends before."""

        def found() -> Found:
            now = true()
            for driver in () if now else self.drivers:
                ended = os.waitid(os.P_PID, driver, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                assert ended is None, "a driver has ended meanwhile"
            return now

        return until(found, PATIENCE_S)

    def run(self, *more: str) -> int:
        """Run the sweep on the cluster to its end; the exit code."""
        return self.end(self.drive(self.on_cluster(*more)))

    def records(self) -> list[Record]:
        """The records of the run on the cluster."""
        return Store(self.store).records()

    def site(self, *lines: str, **changed: str) -> None:
        """Set keys of the site file, and add lines."""
        path = self.folder / "site.toml"
        kept = dict(line.split(" = ", 1) for line in path.read_text().split("\n") if line)
        kept |= {name.replace("_", "-"): value for name, value in changed.items()}
        path.write_text("\n".join([*(f"{name} = {value}" for name, value in kept.items()), *lines, ""]))

    def sweep(self, block: str, images: int = 28) -> None:
        """Write the sweep with another block of the fake method, and number of images."""
        head = sweeping.SWEEP.partition("[method.fake]")[0].replace("images = 28", f"images = {images}")
        (self.folder / "small.toml").write_text(f"{head}\n{block}\n")

    def command(self, *more: str, store: str = "store") -> list[str]:
        sweep, into = str(self.folder / "small.toml"), str(self.folder / store)
        return ["run", sweep, "--store", into, "--batch", str(sweeping.BATCH), *more]

    def here(self, *more: str) -> int:
        """Run the sweep in this process, into the store ``here``."""
        return cli.main([*self.command("--workers", "0", *more, store="here")])

    def on_cluster(self, *more: str) -> list[str]:
        """The arguments for a run on the cluster."""
        return self.command(
            "--cluster", self.cluster, "--site", str(self.folder / "site.toml"), "--max-parallel", "2", *more
        )

    def lines(self, name: str) -> list[str]:
        """The shards that were begun (``begun``) or computed (``sampled``), a line each time. Other stages sample
        batches of other sizes."""
        path = self.folder / name
        found = path.read_text().splitlines() if path.exists() else []
        return [line for line in found if line.startswith(f"{sweeping.COMPUTED} ")]


@contextmanager
def opened(folder: Path, cluster: str, empty: Callable[[], object]) -> Iterator[tuple[Place, pytest.MonkeyPatch]]:
    """A place in a folder, with the small benchmark in the place of the real one. At the end, nothing goes on."""
    with sweeping.in_folder(folder) as patch:
        patch.setenv(sweeping.LOST, str(sweeping.make_weights(folder / "lost.safetensors")))
        patch.setenv(sweeping.LOG, str(folder / "sampled"))
        patch.setenv(sweeping.BEGUN, str(folder / "begun"))
        (folder / "site.toml").write_text(SITE)
        made = Place(folder, cluster, empty)
        yield made, patch
        made.end_all()
        empty()


@contextmanager
def local_place(folder: Path) -> Iterator[Place]:
    """A place whose cluster is this machine."""

    def empty() -> None:
        ours = [one for path, one in programs(PROGRAM).items() if path.is_relative_to(folder)]
        for keeper in ours:
            for process in [keeper, *keeper.children()]:
                process.kill()
        psutil.wait_procs(ours)

    with opened(folder, "local", empty) as (made, _):
        made.site(poll_seconds="1", visibility_seconds="1")
        yield made


def until(true: Callable[[], Found], seconds: float) -> Found:
    """Wait until something is true, and return it; fails if it takes longer."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.3)
    return found
