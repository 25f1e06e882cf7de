"""``--cluster local``: this machine, through submitit's local executor. Tasks are started by the process that has
submitted them. If this process is killed, the running tasks go on. The next process with ``--cluster local`` finds the
running tasks."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import submitit
import torch

from harness import files
from harness.cluster.schedulers import End, Inside, Queued, TaskId, Work
from harness.cluster.site import SECONDS, TEXTS, Resources, Site
from harness.cluster.submitted import Submission
from harness.errors import ArbenchError
from harness.machine.children import deaf, programs, variables
from harness.machine.cores import THREADS, cores
from harness.machine.devices import visible_gpus

KEYS = frozenset(("time", "cpus-per-task", "gpus", "exclusive", *TEXTS, *SECONDS))
PROGRAM = "submitit.local._local"
"""The module that submitit runs to look after one task. The next word of its command line is the task's folder."""
Waiting = tuple[Submission, int, Resources, Path, Work]  # submission, index in it, resources, copy of the code, work


class Local:
    """Treats this machine as a cluster. Each task is a process of the machine."""

    name: ClassVar[str] = "local"
    defaults: ClassVar[Mapping[str, Any]] = {"time": "7-0", "poll-seconds": 1, "visibility-seconds": 1}
    stays: ClassVar[bool] = False

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._started: list[submitit.Job[object]] = []

    def check(self, sites: Sequence[Site], stages: Sequence[str]) -> None:
        """Check the names of the options, and the number of GPUs."""
        if "train" in stages:
            raise ArbenchError("--cluster local is for sweeps: arbench train works here without --cluster")
        for site in sites:
            site.has_only(KEYS)
            if max(site.resources(stage).gpus for stage in stages) > len(visible_gpus()):
                raise ArbenchError(f"{site.source}: gpus: this machine has {len(visible_gpus())}")

    def most_tasks(self) -> int:
        """How many tasks one submission may have. The number is so large that it never matters. Many tasks can wait,
        since a task has no process while it waits."""
        return 100_000

    def submit(self, made: Submission, how: Resources, code: Path, work: Sequence[Work], after: Sequence[str]) -> str:
        """Add the tasks to the list of waiting tasks. The method ``queue`` starts them later."""
        self._waiting += [(made, index, how, code, one) for index, one in enumerate(work)]
        return made.id

    def queue(self, submissions: Sequence[Submission]) -> dict[TaskId, Queued]:
        """Start the waiting tasks for which cores and GPUs are free. Returns the tasks that run, and the tasks that
        wait to be started by a process of this machine."""
        self._start()
        waiting = [*(one[:2] for one in self._waiting), *((one, index) for one in submissions for index in one.held())]
        states = dict.fromkeys(_running(), "RUNNING") | {(one.id, index): "PENDING" for one, index in waiting}
        return {task: Queued(f"{task[0]}_{task[1]}", state) for task, state in states.items()}

    def ends(self, tasks: Iterable[tuple[Submission, int]]) -> dict[TaskId, End]:
        """How each of these tasks has ended: the task was never started, or its process is gone. This function does not
        check whether a task has ended. The caller must pass only tasks that have ended."""
        # ``begun`` looks for the task's folder, which is made when the task is started.
        never = End("never started", outside=True)
        return {(one.id, index): End("its process is gone") if one.begun(index) else never for one, index in tasks}

    def cancel(self, numbers: Collection[str]) -> None:
        """Drop the tasks that wait, and kill the processes of the tasks that run."""
        self._waiting = [one for one in self._waiting if one[0].id not in numbers]
        for path, keeper in programs(PROGRAM).items():
            for process in keeper.children() if path.parent.name in numbers else ():
                process.kill()

    def throttle(self, made: Submission, parallel: int) -> None:
        """Nothing to do: ``Submission.parallel_now`` is read whenever a task could be started."""

    def inside(self) -> Inside:
        """Called inside a task. Returns the number of threads with which the task computes."""
        # torch takes the number from environment variables. ``_begin`` sets them, unless the task is alone here.
        return Inside(torch.get_num_threads())

    def _start(self) -> None:
        """Start the waiting tasks, in order, while cores and GPUs are free."""
        # ``done`` also collects the process of a task that has ended. The process would otherwise stay as a zombie.
        self._started = [job for job in self._started if not job.done()]
        running = _running()
        for waiting in list(self._waiting):
            made, _, how, _, _ = waiting
            wants = {"cores": int(how.options.get("cpus-per-task", 1)), "alone": bool(how.options.get("exclusive"))}
            free = [gpu for gpu in visible_gpus() if all(gpu not in given["gpus"] for given in running.values())]
            full = running and wants["cores"] + sum(given["cores"] for given in running.values()) > cores()
            alone = running and (wants["alone"] or any(given["alone"] for given in running.values()))
            if full or alone or how.gpus > len(free):
                break  # what waits behind it does not overtake it
            if sum(task[0] == made.id for task in running) < (made.parallel_now or len(made.tasks)):
                self._waiting.remove(waiting)
                self._begin({**wants, "gpus": free[: how.gpus]}, *waiting)
                running = _running()

    def _begin(
        self, given: dict[str, Any], made: Submission, index: int, how: Resources, code: Path, work: Work
    ) -> None:
        folder, gpus = made.folder / str(index), given["gpus"] or visible_gpus()
        path = os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])
        threads = {} if given["alone"] else dict.fromkeys(THREADS, str(given["cores"]))
        try:
            files.write_json(folder / "given.json", given)
            executor = submitit.LocalExecutor(folder, max_num_timeout=10**6, python=f"{how.python} -P")
            executor.update_parameters(timeout_min=how.minutes, signal_delay_s=how.signal_s, stderr_to_stdout=True)
            executor.update_parameters(visible_gpus=gpus, gpus_per_node=len(gpus))
            with deaf(), variables({"PYTHONPATH": path, **threads}):
                self._started.append(executor.submit(work))
        except OSError as error:
            raise ArbenchError(f"cannot write {folder}: {error.strerror or error}") from error


def _running() -> dict[TaskId, dict[str, Any]]:
    """All tasks that run on this machine, whichever store they belong to, with the cores and GPUs given to each."""
    found = {path: files.read_json(path / "given.json") for path in programs(PROGRAM)}
    return {(path.parent.name, int(path.name)): given for path, given in found.items() if given}
