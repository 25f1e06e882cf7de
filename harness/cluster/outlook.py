"""What `--dry-run` prints: what would be submitted, and how long the submitted work takes by measured rates."""

from collections.abc import Sequence

from harness.cluster.executor import Cluster
from harness.jobs.plan import Job


def outlook(cluster: Cluster, waves: Sequence[Sequence[Job]], trials: int) -> str:
    """The open jobs of a sweep, in lines of text: for each kind of task, the number of tasks, their jobs and their
    hours."""
    jobs = [job for wave in waves for job in wave]
    shards = sum(job.stage == "generate" for job in jobs)
    images = sum(len(job.indices) for job in jobs)
    opened = len({job.plan.key for job in jobs})
    lines = [f"{trials} trials, {opened} of them open: {shards} shards with {images} images"]
    hours = gpu_hours = 0.0
    unknown = set()
    for wave in waves:
        for resources, tasks in cluster.groups(wave) if wave else ():
            inside = [job for task in tasks for job in task]
            stages = ", ".join(f"{sum(job.stage == stage for job in inside)} {stage}" for stage in _stages(inside))
            known = [cost for job in inside if (cost := cluster.seconds(job)) is not None]
            unknown |= {job.plan.name for job in inside if job.stage == "generate" and cluster.seconds(job) is None}
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
