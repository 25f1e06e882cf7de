"""What `--dry-run` prints: what would be submitted, and how long the submitted work takes by measured rates."""

from collections.abc import Callable, Sequence

from harness.cluster.site import Resources
from harness.jobs.plan import Job

Tasks = Sequence[Sequence[Job]]


def outlook(
    waves: Sequence[Sequence[tuple[Resources, Tasks]]], seconds: Callable[[Job], float | None], trials: int
) -> str:
    """A text about the jobs of a sweep that are not done yet. A task does one or more jobs. Tasks that get the same
    resources form a group. The text has one line for each group. The line gives the number of tasks in the group, the
    number of jobs of each stage, and how many hours the jobs take together, as far as this is known.

    waves: the groups of tasks, wave by wave. The tasks of a wave start when those of the wave before have ended. A
        group is a pair: resources, and the tasks that get these resources.
    seconds: how long a job takes; None if this is not known
    trials: the number of trials of the sweep, including trials that are already recorded
    """
    groups = [group for wave in waves for group in wave]
    jobs = [job for _, tasks in groups for task in tasks for job in task]
    shards = sum(job.stage == "generate" for job in jobs)
    images = sum(len(job.indices) for job in jobs)
    opened = len({job.plan.key for job in jobs})
    lines = [f"{trials} trials, {opened} of them open: {shards} shards with {images} images"]
    hours = gpu_hours = 0.0
    unknown = set()
    for resources, tasks in groups:
        inside = [job for task in tasks for job in task]
        stages = ", ".join(f"{sum(job.stage == stage for job in inside)} {stage}" for stage in _stages(inside))
        known = [cost for job in inside if (cost := seconds(job)) is not None]
        unknown |= {job.plan.name for job in inside if job.stage == "generate" and seconds(job) is None}
        spent = sum(known) / 3600
        hours += spent
        gpu_hours += spent * resources.gpus
        lines.append(f"  {len(tasks)} tasks ({stages}), {spent:.2f} hours known: {resources.in_words()}")
    lines.append(f"by measured rates {hours:.2f} hours of tasks, {gpu_hours:.2f} GPU-hours")
    if unknown:
        lines.append(f"not measured yet, so not in these hours: {len(unknown)} trials, as {min(unknown)}")
    return "\n".join(lines)


def _stages(jobs: Sequence[Job]) -> list[str]:
    return list(dict.fromkeys(job.stage for job in jobs))
