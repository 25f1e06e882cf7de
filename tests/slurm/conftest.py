"""A real Slurm for the session, started by up.sh on this machine: four declared CPUs, one node."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from tests.helpers.places import PATIENCE_S, Place, opened, until

HERE = Path(__file__).parent
COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr")


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


@pytest.fixture
def place(cluster: Slurm, tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path, "slurm", cluster.empty) as (made, patch):
        made.site(memory='"300M"', time='"20"', setup='["export OMP_NUM_THREADS=1"]')
        _count_calls(tmp_path, patch)
        yield made


def _count_calls(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Put programs of the same names before Slurm's commands that note each call."""
    (folder / "bin").mkdir()
    (folder / "calls").touch()
    for name in COMMANDS:
        program = folder / "bin" / name
        program.write_text(f'#!/bin/bash\necho {name} "$@" >>{folder}/calls\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
    patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


def calls(place: Place) -> list[str]:
    """Slurm's commands that were called so far."""
    return (place.folder / "calls").read_text().splitlines()


def submitted(place: Place) -> list[str]:
    """The calls of sbatch that submitted something."""
    return [call for call in calls(place) if call.startswith("sbatch") and " --" not in call]
