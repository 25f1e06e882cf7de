"""sbatch, through submitit: submits an array of tasks, with the options of the site file."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import submitit

from harness.cluster.schedulers import RefusedError, Work
from harness.cluster.site import Resources
from harness.cluster.slurm import commands
from harness.cluster.submitted import Submission
from harness.errors import ArbenchError

REQUEUES = 10**6
"""submitit's limit on requeues after time-outs. It is so high that it never applies: our files show which
job never ends."""


def submit(made: Submission, resources: Resources, code: Path, work: Sequence[Work], after: Sequence[str] = ()) -> str:
    """Submit an array with one task for each piece of work. Returns the job id that Slurm gives the array.

    code: the folder with the copy of the code that the tasks run
    after: Slurm's ids of the jobs that must have ended before the tasks start

    Raises RefusedError, and ArbenchError if files cannot be written.
    """
    try:
        with commands.outside(resources.options):
            first = _executor(made, resources, code, len(work), after).submit_array(work)[0]
    except submitit.core.utils.FailedJobError as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise RefusedError(reason, commands.cut_off(reason)) from error
    except OSError as error:
        raise ArbenchError(f"cannot write {made.folder}: {error.strerror or error}") from error
    return str(first.job_id).partition("_")[0]


def _executor(
    made: Submission, resources: Resources, code: Path, tasks: int, after: Sequence[str]
) -> submitit.SlurmExecutor:
    options = dict(resources.options) if "no-requeue" in resources.options else {"requeue": True, **resources.options}
    if after:
        options["dependency"] = f"afterany:{':'.join(after)}"
    # Slurm's warning may reach a job that is still importing, and its script and srun: none of them must die of it.
    deaf = f"trap '' {submitit.JobEnvironment.USR_SIG}"
    # -P: the current folder, which may hold modules of our packages' names, does not come before the copy of the code.
    python = f'sh -c \'trap "" {submitit.JobEnvironment.USR_SIG}; exec "$@"\' sh {resources.python} -P'
    executor = submitit.SlurmExecutor(made.folder, max_num_timeout=REQUEUES, python=python)
    srun = ["--kill-on-bad-exit"]  # else processes would wait for ever for one that has died
    if "cpus-per-task" in options:
        srun.append(f"--cpus-per-task={options['cpus-per-task']}")
    if made.stage != "train":
        srun.append("--ntasks=1")  # on an exclusive node srun would start as many tasks as the cores allow
    path = f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}"
    executor.update_parameters(
        job_name=f"{commands.PREFIX}{made.id}",
        time=resources.minutes,
        setup=[deaf, *resources.setup, path],
        signal_delay_s=resources.signal_s,
        stderr_to_stdout=True,
        array_parallelism=made.parallel or tasks,
        additional_parameters=options,
        srun_args=srun,
    )
    return executor
