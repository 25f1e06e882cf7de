"""A real Slurm for the session, started by up.sh on this machine: four declared CPUs, one node."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pytest

from harness import cli
from harness.records.store import Record, Store
from tests.helpers import sweeping

HERE = Path(__file__).parent
Found = TypeVar("Found")
PATIENCE_S = 600
"""For what takes seconds on a machine that has nothing else to do."""
COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr")
SITE = f"""
python = "{sys.executable} -m tests.slurm.job"
cpus = 1
memory = "300M"
time = "20"
poll-seconds = 2
visibility-seconds = 2
setup = ["export OMP_NUM_THREADS=1"]
"""


@dataclass(frozen=True)
class Slurm:
    """The running Slurm."""

    folder: Path

    def call(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    @cached_property
    def node(self) -> str:
        """The one node's name."""
        return self.call("sinfo", "-h", "-N", "-o", "%N").split()[0]

    def restart(self, daemon: str) -> None:
        """End slurmd or slurmctld and start it again. slurmd is killed; slurmctld is told to end: killed, it may forget
        that it has started a job, start it again, and drain the node for that, until an administrator sees to it."""
        (file,) = (self.folder / "run").glob("slurmd.*.pid" if daemon == "slurmd" else f"{daemon}.pid")
        process = Path(f"/proc/{file.read_text().strip()}")
        os.kill(int(process.name), signal.SIGKILL if daemon == "slurmd" else signal.SIGTERM)
        until(lambda: not process.exists() or ") Z " in (process / "stat").read_text(), PATIENCE_S)
        node = ["-N", self.node] if daemon == "slurmd" else []
        with (self.folder / "log" / "start.log").open("ab") as log:
            subprocess.run([shutil.which(daemon) or f"/usr/sbin/{daemon}", *node], stdout=log, stderr=log, check=True)

    def fail_node(self) -> None:
        """Have slurmctld take the node for dead, so that what ran there is queued again; bring it back once nothing of
        that is left on it, as after a reboot."""
        self.call("scontrol", "update", f"NodeName={self.node}", "State=DOWN", "Reason=fails")
        until(lambda: not self.running() and not self.processes(), PATIENCE_S)
        self.call("scontrol", "update", f"NodeName={self.node}", "State=RESUME")

    def processes(self) -> list[int]:
        """The processes of jobs on the node, and Slurm's own that look after them: these end last."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                around = (path / "environ").read_bytes().split(b"\0")
                ours = f"SLURM_CONF={os.environ['SLURM_CONF']}".encode() in around
                keeper = (path / "comm").read_text().strip() == "slurmstepd"
                if ours and (keeper or any(entry.startswith(b"SLURM_JOB_ID=") for entry in around)):
                    found.append(int(path.name))
        return found

    def running(self) -> list[str]:
        """The jobs that run now."""
        return self.call("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i").split()

    def limit_submitted(self, jobs: int) -> None:
        """Let the user have so many jobs that wait or run; -1 for any number."""
        user = self.call("id", "-un").strip()
        self.call("sacctmgr", "-i", "modify", "user", user, "set", f"MaxSubmitJobs={jobs}")

    def empty(self) -> None:
        """End all jobs, and wait until they are gone."""
        if jobs := self.call("squeue", "--noheader", "--format=%A").split():
            subprocess.run(["scancel", "--full", *jobs], check=False)
            until(lambda: not self.call("squeue", "--noheader"), PATIENCE_S)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    kept = os.environ.get("ARBENCH_TEST_SLURM")  # a folder: its Slurm is started if need be, and left running
    folder = Path(kept) if kept else tmp_path_factory.mktemp("slurm")
    env = {**os.environ, "SLURM_UP_CPUS": "4", "SLURM_UP_MAX_ARRAY": "6"}
    started = subprocess.run([HERE / "up.sh", folder], env=env, capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    if not kept:  # a session that is killed stops nothing itself
        stop = f"tail --pid={os.getpid()} -f /dev/null; [ ! -d {folder} ] || {HERE}/down.sh {folder} --rm"
        subprocess.Popen(
            ["bash", "-c", stop], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", started.stdout.splitlines()[-1])
        yield Slurm(folder)
        if not kept:
            subprocess.run([HERE / "down.sh", folder, "--rm"], check=True)


@dataclass(frozen=True)
class Place:
    """A folder with a sweep, a site file and a store, and the commands of arbench for it."""

    folder: Path

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
        """Change lines ``NAME = ...`` of the site file, and add some."""
        path = self.folder / "site.toml"
        kept = [
            f"{name} = {changed.get(name.replace('-', '_'), value)}"
            for name, value in (line.split(" = ", 1) for line in path.read_text().split("\n") if line)
        ]
        path.write_text("\n".join([*kept, *lines, ""]))

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
            "--cluster", "slurm", "--site", str(self.folder / "site.toml"), "--max-parallel", "2", *more
        )

    def calls(self) -> list[str]:
        """Slurm's commands that were called so far."""
        return (self.folder / "calls").read_text().splitlines()

    def submitted(self) -> list[str]:
        """The calls of sbatch that submitted something."""
        return [call for call in self.calls() if call.startswith("sbatch") and " --" not in call]

    def lines(self, name: str) -> list[str]:
        """The shards that were begun (``begun``) or computed (``sampled``), a line each time. Other stages sample
        batches of other sizes."""
        path = self.folder / name
        found = path.read_text().splitlines() if path.exists() else []
        return [line for line in found if line.startswith(f"{sweeping.COMPUTED} ")]


@pytest.fixture
def place(cluster: Slurm, tmp_path: Path) -> Iterator[Place]:
    with sweeping.in_folder(tmp_path) as patch:
        patch.setenv(sweeping.LOST, str(sweeping.make_weights(tmp_path / "lost.safetensors")))
        patch.setenv(sweeping.LOG, str(tmp_path / "sampled"))
        patch.setenv(sweeping.BEGUN, str(tmp_path / "begun"))
        (tmp_path / "site.toml").write_text(SITE)
        _count_calls(tmp_path, patch)
        made = Place(tmp_path)
        yield made
        for driver in list(made.drivers):
            made.end(driver, signal.SIGKILL)
        cluster.empty()


def _count_calls(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Put programs of the same names before Slurm's commands that note each call."""
    (folder / "bin").mkdir()
    (folder / "calls").touch()
    for name in COMMANDS:
        program = folder / "bin" / name
        program.write_text(f'#!/bin/bash\necho {name} "$@" >>{folder}/calls\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
    patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


def until(true: Callable[[], Found], seconds: float) -> Found:
    """Wait until something is true, and return it; fails if it takes longer."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.3)
    return found
