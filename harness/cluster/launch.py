"""sbatch, through submitit: an array of tasks with what its site file gives them."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import submitit

from harness import files
from harness.cluster import slurm
from harness.cluster.site import Resources
from harness.cluster.submitted import Submission
from harness.errors import ArbenchError

REQUEUES = 10**6
"""submitit's own limit on requeues after time-outs is not used: what tells a job that never ends is in our files."""


class RefusedError(ArbenchError):
    """Slurm has not taken a submission, for the reason given; see ``slurm.cut_off``."""


def submit(
    made: Submission, resources: Resources, code: Path, work: Sequence[Callable[[], None]], after: Sequence[str] = ()
) -> None:
    """Submit a task for each piece of work, to run that copy of the code once the jobs ``after`` have ended. Raises
    RefusedError, and ArbenchError if files cannot be written."""
    try:
        with slurm.outside(resources.options):
            first = _executor(made, resources, code, len(work), after).submit_array(work)[0]
    except submitit.core.utils.FailedJobError as error:
        raise RefusedError((str(error).strip().splitlines() or ["no reason given"])[-1]) from error
    except OSError as error:
        raise ArbenchError(f"cannot write {made.folder}: {error.strerror or error}") from error
    files.write_json(made.folder / "submitted.json", {"job": first.job_id.partition("_")[0]})


def _executor(
    made: Submission, resources: Resources, code: Path, tasks: int, after: Sequence[str]
) -> submitit.SlurmExecutor:
    options = dict(resources.options) if "no-requeue" in resources.options else {"requeue": True, **resources.options}
    if after:
        options["dependency"] = f"afterany:{':'.join(after)}"
    # Slurm may warn a job that is still importing, and its script and srun, too: none must die of that.
    deaf = f"trap '' {submitit.JobEnvironment.USR_SIG}"
    # -P: the current folder, which may hold modules of our packages' names, does not come before the copy of the code.
    python = f'sh -c \'trap "" {submitit.JobEnvironment.USR_SIG}; exec "$@"\' sh {resources.python} -P'
    executor = submitit.SlurmExecutor(made.folder, max_num_timeout=REQUEUES, python=python)
    srun = ["--kill-on-bad-exit"]  # processes that wait for a dead one would wait for ever
    if "cpus-per-task" in options:
        srun.append(f"--cpus-per-task={options['cpus-per-task']}")
    if made.stage != "train":
        srun.append("--ntasks=1")  # on an exclusive node srun would start as many as there are cores for
    path = f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}"
    executor.update_parameters(
        job_name=f"{slurm.PREFIX}{made.id}",
        time=resources.minutes,
        setup=[deaf, *resources.setup, path],
        signal_delay_s=resources.signal_s,
        stderr_to_stdout=True,
        array_parallelism=made.parallel or tasks,
        additional_parameters=options,
        srun_args=srun,
    )
    return executor
