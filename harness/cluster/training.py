"""Training on a cluster: one job of several processes. The scheduler starts the processes. Each process gets the
environment variables that torchrun would set.

After preemption, a requeue or a time limit, the job goes on by itself. If the job fails in another way, before the
training is done, the process that waits for the job submits the job again. The state of the training is kept in the
folder of runs. The job goes on from this state.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from submitit.helpers import DelayedSubmission, TorchDistributedEnvironment

from harness import files
from harness.cluster.schedulers import (
    End,
    Queued,
    RefusedError,
    Scheduler,
    Schedulers,
    TaskId,
    UnreachableError,
    named,
)
from harness.cluster.site import Site
from harness.cluster.submitted import Submission, Submissions, since_start
from harness.errors import ArbenchError
from harness.identity import source

FRUITLESS = 3
"""The job has a new life whenever the scheduler begins the job again. After so many lives in a row that were
interrupted before they saved any progress, the job is not requeued."""
NOT_OURS = ("srun:", "slurmstepd", "submitit ")
"""Lines that begin like this in a job's output were printed by a scheduler or submitit, not by the training."""


@dataclass
class Training:
    """The work of each process of the job. The object is pickled and sent to the cluster."""

    submission: Submission
    work: Callable[[], object]  # trains; goes on from the state that an earlier life has kept in ``runs``
    runs: Path
    _began: float = field(default=0.0, init=False)  # when this life began
    _fruitless: int = field(default=0, init=False)  # number of lives in a row that have kept no state

    def __call__(self) -> None:
        """Train."""
        import torch

        self._began = time.time()
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(named(self.submission.scheduler).inside().threads)
        around = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if visible and "," not in visible:
            os.environ["LOCAL_RANK"] = "0"  # the scheduler has given each process one GPU, and hidden the others
        if around.rank == 0:
            self.submission.tell(0, "start", host=around.master_addr, processes=around.world_size)
        self.work()
        if around.rank == 0:
            self.submission.tell(0, "end")

    def checkpoint(self) -> DelayedSubmission | None:
        """submitit calls this in the first process, and afterwards asks the scheduler to requeue the job.

        Each time the scheduler begins the job, a new life of the job begins. Returns None if too many lives in a row
        were interrupted before they saved any progress. The constant FRUITLESS is the number of lives that is too many.
        If None is returned, submitit does not ask for a requeue.
        """
        self._fruitless = 0 if self._kept() else self._fruitless + 1
        self.submission.tell(0, "interrupted")
        return DelayedSubmission(self) if self._fruitless < FRUITLESS else None

    def _kept(self) -> bool:
        """Whether the job has saved state since it last began, so that it can go on from there when it begins again."""
        found = (path for path in self.runs.glob("*/*") if path.parent.name != "cluster" and path.name != "log.jsonl")
        return any(path.stat().st_mtime > self._began for path in found)


@dataclass(frozen=True)
class Launch:
    """How training uses a cluster."""

    scheduler: Scheduler
    site: Site
    retries: int = 2  # how often a job that has failed is submitted again
    wait: bool = True  # False: return once the job is submitted


def train(name: str, work: Callable[[], object], runs: Path, how: Launch, tell: Callable[[str], None]) -> None:
    """Do ``work`` in a job called ``name`` on the cluster, and wait for the end of the job. If an earlier job of that
    name has not ended, wait for the earlier job instead. ``tell`` is called with lines of progress. Raises ArbenchError
    if the job failed too often, or was ended by `arbench cancel`."""
    how.scheduler.check([how.site], ["train"])
    submissions = Submissions(runs.absolute())
    for again in range(how.retries + 1):
        known = _on_its_way(submissions, name)
        if known is not None and not how.wait and (known.id, 0) not in _queue(known):
            if _closed(known) is None:
                tell(f"{name} was trained as {known.number}")
                return
            known = None
        if known is not None:
            tell(f"training {name} is on its way as {known.number}; its output: {known.folder}")
        one = known or _submitted(submissions, name, work, how, tell)
        if not how.wait:
            return
        end = _followed(one, how.site, tell)
        if end is None:
            return
        if one.cancelled:
            raise ArbenchError(f"`arbench cancel` has ended training {name}; the same command goes on from here")
        tell(f"{one.number} ended before {name} was trained: {end}; tries left: {how.retries - again}")
    lines = [line for line in one.log(0).splitlines() if line.strip() and not line.startswith(NOT_OURS)]
    said = (lines or ["no output"])[-1]
    raise ArbenchError(f"training {name} failed: {end}: {said} ({one.folder})")


def _on_its_way(submissions: Submissions, name: str) -> Submission | None:
    """The job called ``name``, if an earlier call has submitted it and no file records its end; else None."""
    for one in submissions.all():
        if one.tasks == ((name,),) and not one.cancelled and not _ended(one).exists():
            return one
    return None


def _submitted(
    submissions: Submissions, name: str, work: Callable[[], object], how: Launch, tell: Callable[[str], None]
) -> Submission:
    code = source.keep(submissions.folder / "code")
    made = submissions.new("train", [[name]], 0, source.code_sha256(), scheduler=how.scheduler.name)
    training = Training(made, work, submissions.folder.parent)
    try:
        made.accepted(how.scheduler.submit(made, how.site.resources("train"), code, [training], []))
    except RefusedError:
        submissions.forget(made)
        raise
    tell(f"submitted {name} as {made.number}; its output: {made.folder}")
    return made


def _followed(one: Submission, site: Site, tell: Callable[[str], None]) -> str | None:
    """Wait for a job's end; returns None if the training is done, else how the job ended."""
    absent = shown = None
    while absent is None or time.monotonic() - absent < site.seconds("visibility-seconds"):
        time.sleep(min(site.seconds("poll-seconds"), site.seconds("visibility-seconds")))
        steps = [line for line in one.log(0).splitlines() if line.startswith("step ")]
        if steps and steps[-1] != shown:
            shown = steps[-1]
            tell(shown)
        if _done(one):
            break
        try:
            absent = None if (one.id, 0) in _queue(one) else absent or time.monotonic()
        except UnreachableError:
            absent = None
    return _closed(one)


def _closed(one: Submission) -> str | None:
    """Write down that a job has ended; returns None if the training is done, else how the job ended."""
    done = _done(one)
    end = "" if done else _end(one)
    files.write_json(_ended(one), {"end": end, "left": [] if done else list(one.tasks[0])})
    return None if done else end or "the cluster does not tell how"


def _queue(one: Submission) -> dict[TaskId, Queued]:
    return Schedulers().queue([one])


def _end(one: Submission) -> str:
    try:
        return Schedulers().ends([(one, 0)]).get((one.id, 0), End()).words
    except UnreachableError:
        return ""


def _done(one: Submission) -> bool:
    return any(event["event"] == "end" for event in since_start(one.events(0)) or ())


def _ended(one: Submission) -> Path:
    return one.folder / "ended-0.json"
