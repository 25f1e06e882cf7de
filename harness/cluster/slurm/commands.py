"""The calls of Slurm's commands. One call serves all jobs; there is never a call per job."""

import os
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from submitit.helpers import clean_env

from harness.cluster.schedulers import Queued, TaskId, UnreachableError
from harness.errors import ArbenchError
from harness.machine import cores

PREFIX = "arbench-"
"""Prefix of the names of our jobs; the submission's id follows."""
PATIENCE_S = 60
OVER = (": Job has already finished", ": Job/step already completing or completed")
"""Ends of Slurm's error lines about jobs that are already over and cannot be changed any more."""

OF_THE_CLUSTER = ("SLURM_CONF", "SLURM_JWT", "SLURM_CLUSTERS")
"""Variables that say which cluster is meant. All other variables that begin with SLURM_ describe the job in which this
process runs."""
OF_THE_USER = ("account", "partition", "qos", "reservation", "constraint")
"""Options of sbatch that people set for all their jobs, by variables such as SBATCH_ACCOUNT."""
OF_A_JOB = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL", *cores.THREADS)
"""Other variables that a job is given or sets for itself. New jobs that are submitted from inside a job must not
inherit these variables."""


def call(*command: str, harmless: tuple[str, ...] = ()) -> str:
    """Run a command of Slurm. Returns what the command prints. If the command fails, raises UnreachableError with the
    last line of its error output.

    harmless: endings of error lines. If every error line of the command has such an ending, the failure is ignored.
    """
    try:
        with outside():
            found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except FileNotFoundError as error:
        raise ArbenchError(f"no command {command[0]!r} here: --cluster slurm needs a login node of a Slurm") from error
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(f"{command[0]}: no answer within {PATIENCE_S} s") from error
    said = found.stderr.strip().splitlines() or [f"exit code {found.returncode}"]
    if found.returncode and not all(line.endswith(harmless) for line in said):
        raise UnreachableError(f"{command[0]}: {said[-1].removeprefix(f'{command[0]}: ').removeprefix('error: ')}")
    return found.stdout


@contextmanager
def outside(given: Collection[str] = ()) -> Iterator[None]:
    """A context without the environment variables that Slurm sets for a job. They are restored afterwards.

    sbatch hands the environment on to the job that it submits. This process may itself run in a job of Slurm. The new
    job would then inherit variables of the old job, such as SLURM_ARRAY_TASK_ID or SLURM_CPUS_PER_TASK, and would take
    these variables for its own.

    given: names of options that are given to sbatch. Users can set the same options by variables such as
        SBATCH_ACCOUNT, and sbatch would prefer the variables. The variables for these options are therefore left out.
    """
    kept = [*OF_THE_CLUSTER, *(f"SBATCH_{name.upper()}" for name in OF_THE_USER if name not in given)]
    values = {name: os.environ[name] for name in kept if name in os.environ}
    with clean_env(OF_A_JOB if "SLURM_JOB_ID" in os.environ else cores.heeded):
        os.environ.update(values)
        yield


def own_cores() -> int:
    """The number of threads that a process of a job should have. The processes of the job on this node share the job's
    cores on this node equally. A process gets at most one thread for each core that it is allowed to use."""
    given = int(os.environ.get("SLURM_CPUS_PER_TASK") or 0)
    if not given:
        tasks = re.match(r"\d+", os.environ.get("SLURM_STEP_TASKS_PER_NODE", ""))  # for example 2(x3),1 on four nodes
        given = int(os.environ.get("SLURM_CPUS_ON_NODE") or 0) // max(1, int(tasks[0]) if tasks else 1)
    return max(1, min(given or cores.cores(), cores.cores()))


def queue(users: Iterable[int]) -> dict[TaskId, Queued]:
    """All waiting and running tasks of these users (numeric ids), whichever store the tasks belong to."""
    found = {}
    theirs = f"--user={','.join(map(str, sorted(users)))}"
    for line in call("squeue", theirs, "--array", "--noheader", "--format=%j|%i|%K|%T|%r").splitlines():
        name, job, index, state, reason = line.strip().split("|", 4)
        if name.startswith(PREFIX):
            place = name.removeprefix(PREFIX), int(index) if index.isdecimal() else 0
            found[place] = Queued(job, state, reason, state == "COMPLETING")
    return found


def ends(jobs: Iterable[str]) -> dict[str, str]:
    """How each job ended, such as ``TIMEOUT`` or ``FAILED (exit code 1:0)``. The keys are Slurm's names of the jobs
    (``123_4``). Jobs that Slurm's accounting does not know are left out."""
    asked = sorted({job.partition("_")[0] for job in jobs})
    found = {}
    if asked:
        rows = call("sacct", "-X", "-n", "-P", "--format=JobID,State,ExitCode", f"--jobs={','.join(asked)}")
        for row in rows.splitlines():
            job, state, code = row.split("|")
            found[job] = state.split()[0] + ("" if code == "0:0" else f" (exit code {code})")
    return found


def cancel(jobs: Iterable[str]) -> None:
    """End all these jobs by one call. Some may have ended meanwhile."""
    call("scancel", *sorted(jobs), harmless=(*OVER, ": Invalid job id specified"))


def throttle(job: str, parallel: int) -> None:
    """Let ``parallel`` tasks of an array run at once from now on. If some tasks of the array are over, scontrol reports
    a failure. This failure is ignored."""
    # In this case, scontrol also prints error lines about tasks that are not over. These lines end in "No error".
    call(
        *("scontrol", "update", f"JobId={job}", f"ArrayTaskThrottle={parallel}"),
        harmless=(": No error", *OVER),
    )


def cut_off(said: str) -> bool:
    """Whether an error of sbatch means that Slurm's answer is missing or incomplete. In this case, Slurm may have
    accepted the job all the same."""
    return any(sign in said.lower() for sign in ("contact", "timed out", "zero bytes", "connection", "communication"))


def most_tasks() -> int:
    """How many tasks an array may have: MaxArraySize."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"), re.MULTILINE)
    return int(found[1]) if found else 1000


def partitions() -> list[str]:
    """The cluster's partitions."""
    return sorted(set(call("sinfo", "--noheader", "--format=%R").split()))


def options() -> set[str]:
    """The long options that this cluster's sbatch takes."""
    return set(re.findall(r"--([a-z][a-z-]+)", call("sbatch", "--help")))
