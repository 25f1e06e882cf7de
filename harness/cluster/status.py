"""What `arbench status` and `arbench cancel` do. Everything shown comes from the store's files and one question to the
scheduler."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from harness import files
from harness.cluster.faults import faults
from harness.cluster.schedulers import Queued, Schedulers, TaskId
from harness.cluster.submitted import Submissions
from harness.errors import ArbenchError
from harness.progress import clock, counted
from harness.records.store import Store, timed
from harness.stages.generate.shards import Shards, shard_size

RECENT_S = 600.0
"""Seconds over which rates are taken: the last ten minutes."""
LOG_SHOWN = 5
"""How many lines of a failure's log are shown."""


@dataclass(frozen=True)
class Standing:
    """The progress of a trial: which parts of its work are done, and what went wrong at the others."""

    name: str
    images: int
    images_left: int
    shards: tuple[int, int]  # number of shards that are done, number of all shards
    stages: tuple[str, ...]  # stages that are done
    record: dict[str, Any] | None  # content of the trial's record; None if there is no record
    faults: list[str]  # faults of jobs that are still open, in words

    @property
    def state(self) -> str:
        """``done`` or ``failed``, as the record says; ``open`` if the record, or the timing in it, is still missing."""
        if self.record is None or (self.record["status"] == "done" and not timed(self.record)):
            return "open"
        return str(self.record["status"])


def standings(store: Store) -> Iterator[Standing]:
    """The progress of each trial, for all sweeps that were run with a store. A trial that belongs to several sweeps is
    yielded only once."""
    seen = set()
    for path in sorted((store.folder / "sweeps").glob("[!.]*.json")):
        content = _announced(path)
        for trial in content["trials"]:
            if trial["key"] not in seen:
                seen.add(trial["key"])
                yield _standing(store, trial, content["batch"])


def _announced(path: Path) -> dict[str, Any]:
    """Read a file in which ``Store.announce`` has listed a sweep's trials. Raises ArbenchError if it is damaged."""
    content = files.read_json(path)
    if content is None:  # the file is gone meanwhile
        return {"trials": [], "batch": 1}
    if not isinstance(content, dict) or not _positive(content.get("batch")) or not _trials(content.get("trials")):
        raise ArbenchError(f"cannot read {path}: it is no list of a sweep's trials (arbench run writes it anew)")
    return content


def _trials(found: Any) -> bool:
    """Whether a value that was read from a file is a list of dicts like those that the function
    ``harness.jobs.plan.listed`` returns."""
    return isinstance(found, list) and all(
        isinstance(one, dict)
        and all(isinstance(one.get(name), str) and "\0" not in one[name] for name in ("name", "key", "folder"))
        and _positive(one.get("images"))
        and _positive(one.get("compute_batch", 1))  # lists of before this was a setting do not have it
        and isinstance(one.get("stages"), dict)
        and all(isinstance(file, str) and "\0" not in file for file in one["stages"].values())
        for one in found
    )


def _positive(value: Any) -> bool:
    return type(value) is int and value > 0


def _standing(store: Store, trial: dict[str, Any], batch: int) -> Standing:
    """How far a trial is. trial: a trial in the form of ``harness.jobs.plan.listed``; batch: images per shard, before
    rounding up."""
    images, folder = trial["images"], store.folder / trial["folder"]
    stages = tuple(stage for stage, name in trial["stages"].items() if (folder / name).exists())
    record = store.read(trial["name"], trial["key"])
    samples = "generate" in trial["stages"]  # trials on random weights make no images
    complete = "generate" in stages or (record is not None and record["status"] == "done")
    gaps = [] if complete or not samples else Shards(folder / "shards", images).gaps()
    size = shard_size(batch, trial.get("compute_batch", 1))
    total = ceil(images / size) if samples else 0
    against = [
        f"{trial['name']}: {part}: {several[-1].reason} ({len(several)} so far)"
        for part, several in sorted(faults(folder).items())
        if part != "generate" and not (folder / trial["stages"].get(part, "none")).exists() and _meets(part, gaps)
    ]
    left = sum(map(len, gaps))
    done = total - sum(ceil(len(gap) / size) for gap in gaps)
    return Standing(trial["name"], images, left, (max(0, done), total), stages, record, against)


def _meets(part: str, gaps: list[range]) -> bool:
    """Whether a job still has work to do, judged by the images that are missing.

    A job of the stage generate makes the images of one shard, which is a range of image indices. Such a job has work to
    do if at least one image of its shard is missing. For a job of another stage, the answer is always True.

    part: the job's ``Job.part``: the name of its stage, with its range of images if it has one
    gaps: the ranges of image indices whose images are missing
    """
    stage, _, indices = part.partition("-")
    if stage != "generate":
        return True
    start, stop = map(int, indices.split("-"))
    return any(gap.start < stop and start < gap.stop for gap in gaps)


def status(store: Store) -> str:
    """The progress of a store's sweeps, as lines of text. Raises ArbenchError if no sweep was run with the store."""
    trials = list(standings(store))
    if not trials:
        raise ArbenchError(f"{store.folder}: no sweep was run here (arbench run SWEEP --store {store.folder})")
    count = Counter(trial.state for trial in trials)
    known = counted(len(trials), "trial")
    lines = [f"{known}: {count['done']} recorded, {count['open']} open, {count['failed']} failed"]
    active = [trial for trial in trials if trial.state == "open"]
    done, total = (sum(trial.shards[place] for trial in trials) for place in (0, 1))
    if total:  # trials on random weights have no images
        lines.append(f"{done} of {counted(total, 'shard')}{_pace(store, sum(trial.images_left for trial in active))}")
    submissions = Submissions(store.folder.absolute())
    if submissions.all():
        lines.append(_jobs(submissions))
    for trial in active:
        lines.append(
            f"  {trial.name}: {trial.shards[0]} of {trial.shards[1]} shards; done: {', '.join(trial.stages) or '-'}"
        )
    again = [line for trial in active for line in trial.faults]
    lines += ["went wrong, and is tried again:", *(f"  {line}" for line in again)] if again else []
    for trial in trials:
        if trial.record is not None and trial.state == "failed":
            failure = trial.record["failure"]
            lines.append(f"failed: {trial.name}: {failure['stage']}: {failure['reason']}")
            lines += [f"    {line}" for line in failure["log"].splitlines()[-LOG_SHOWN:]]
    return "\n".join(lines)


def _pace(store: Store, left: int) -> str:
    """Text for ``status``: how many images are left, the images per second over the last RECENT_S seconds, and the time
    left at that rate. If no images were made in these seconds, the text only says how many are left."""
    if not left:
        return ""
    now, images, since = time.time(), 0, time.time()
    submissions = Submissions(store.folder.absolute())
    for submission in submissions.all():
        for index in range(len(submission.tasks)):
            for event in submission.events(index):
                if event["event"] == "done" and event["at"] > now - RECENT_S:
                    images += event["images"]
                    since = min(since, event["at"] - event["seconds"])
    if not images:
        return f"; {counted(left, 'image')} left"
    rate = images / max(1.0, now - max(since, now - RECENT_S))
    return f"; {counted(left, 'image')} left, {rate:.1f} images/s, {clock(left / rate)} left"


def _jobs(submissions: Submissions) -> str:
    try:
        ours = _ours(submissions, Schedulers())
    except ArbenchError as error:
        return f"jobs: {error}"
    states = Counter(one.state.lower() for one in ours.values())
    reasons = Counter(one.reason for one in ours.values() if one.state == "PENDING")
    shown = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none waits or runs"
    return f"jobs: {shown}" + (f" ({', '.join(sorted(reasons))})" if reasons else "")


def _ours(submissions: Submissions, schedulers: Schedulers) -> dict[TaskId, Queued]:
    names = {submission.id for submission in submissions.all()}
    return {task: one for task, one in schedulers.queue(submissions.all()).items() if task[0] in names}


def cancel(folder: Path) -> int:
    """End all tasks that were submitted from a store or from a folder of training runs. Returns how many tasks there
    were.

    Other processes may be waiting for these tasks, or be about to submit more tasks. A file in the folder tells these
    processes to end, too. Raises ArbenchError if nothing was ever submitted from the folder.
    """
    submissions = Submissions(folder.absolute())
    if not submissions.folder.is_dir():
        raise ArbenchError(f"{folder}: nothing was submitted to a cluster from here")
    submissions.cancel()
    schedulers = Schedulers()
    ours = _ours(submissions, schedulers)
    numbers = {name: one.job.partition("_")[0] for (name, _), one in ours.items()}
    living = {numbers[one.id]: one for one in submissions.all() if one.id in numbers}
    for submission in living.values():
        files.write_json(submission.folder / "cancelled", {"at": time.time()})
    schedulers.cancel(living)
    return len(ours)
