"""Faults: what went wrong at a job. Each fault is a file in the trial's work folder, so that all tasks know of it."""

import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import files
from harness.jobs.bench import Failure
from harness.jobs.plan import Job


def blame(job: Job, failure: Failure, once: str) -> None:
    """Record a fault at a job.

    once: a name for the occasion on which the fault happened. A job keeps only one fault for each occasion. If two
        faults of a job have the same occasion, the second fault replaces the first.
    """
    files.write_json(job.plan.folder / "faults" / f"{job.part}@{once}.json", {**asdict(failure), "at": time.time()})


def faults(folder: Path) -> dict[str, list[Failure]]:
    """The faults in a trial's work folder, as a dict. A job's key is its ``Job.part``: the name of the stage, with the
    range of images if the job has one. The value is the list of the job's faults, oldest first."""
    found: dict[str, list[tuple[float, Failure]]] = defaultdict(list)
    for path in (folder / "faults").glob("[!.]*.json"):
        content: dict[str, Any] | None = files.read_json(path)
        if content is not None:
            at = content.pop("at")
            found[path.name.partition("@")[0]].append((at, Failure(**content)))
    return {part: [failure for _, failure in sorted(several, key=_when)] for part, several in found.items()}


def _when(dated: tuple[float, Failure]) -> float:
    return dated[0]
