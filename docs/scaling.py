"""How a sweep scales over GPUs: overheads measured from a store that a cluster has filled, the rest simulated.

    python docs/scaling.py --store STORE [--rate 10] [--images 50000] [--trials 100] [--shard 250] [--minutes 10]

What is measured, from the tasks' own lines in STORE/cluster: seconds from a task's begin to its first job's begin, and
seconds of a shard, for shards of a network that costs nothing. What is assumed is said in each line.
"""

import argparse
import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median

from harness.cluster.submitted import Submissions

QUEUE_S = 30.0
"""Assumed: from a free GPU to the next task's own first line (Slurm's scheduling, its prologue, importing torch)."""
LOAD_S = 30.0
"""Assumed: reading a network of some GB from a shared file system."""
MERGE_S = 120.0
"""Assumed: merging a trial's 50,000 feature rows, and its metrics, on CPUs beside the GPUs."""
POLL_S = 32.0
"""The driver's two checks (files, squeue) between a trial's last shard and the submission of its merge."""
TIMING_S = 20.0
"""Assumed: timing of one trial, in the one session on the exclusive node."""
FILE_OPS = 12
"""Operations on the file server for one shard: claim, its reading, clock, shard, renames, the line told."""


@dataclass(frozen=True)
class Outcome:
    """Hours of a sweep, and where they went: shares of all GPUs' time until the last shard is in."""

    hours: float
    computing: float
    starting: float
    overhead: float
    idle: float
    after_hours: float
    operations_per_s: float

    @property
    def bottleneck(self) -> str:
        """The largest loss, in words."""
        whole = self.hours - self.after_hours
        losses = {
            "starting tasks": self.starting * whole,
            "files of shards": self.overhead * whole,
            "GPUs idle at the end": self.idle * whole,
            "merging and timing after the last shard": self.after_hours,
        }
        return max(losses, key=lambda name: losses[name])


def measured(store: Path) -> tuple[float, float, int]:
    """Seconds of a task's start (its own line to its first job's begin), of a shard, and how many shards told so."""
    starts, shards = [], []
    for submission in Submissions(store).all():
        for index in range(len(submission.tasks)):
            events = submission.events(index)
            done = [event for event in events if event["event"] == "done" and event["images"]]
            if done and events[0]["event"] == "start":
                starts.append(done[0]["at"] - done[0]["seconds"] - events[0]["at"])
                shards += [later["at"] - earlier["at"] for earlier, later in zip(done, done[1:], strict=False)]
    if not shards:
        raise SystemExit(f"{store}: no task there has done two shards")
    return median(starts), median(shards), len(shards)


def simulate(gpus: int, tasks: Sequence[tuple[int, float]], start_s: float, shard_s: float, trials: int) -> Outcome:
    """Run tasks (number of shards, seconds of computing) on GPUs, first come first served."""
    free = [0.0] * gpus
    heapq.heapify(free)
    for shards, seconds in tasks:
        heapq.heappush(free, heapq.heappop(free) + start_s + shards * shard_s + seconds)
    end = max(free)
    computing, shards = sum(seconds for _, seconds in tasks), sum(count for count, _ in tasks)
    busy = gpus * end
    after = POLL_S + MERGE_S + trials * TIMING_S
    return Outcome(
        hours=(end + after) / 3600,
        computing=computing / busy,
        starting=len(tasks) * start_s / busy,
        overhead=shards * shard_s / busy,
        idle=1 - (computing + len(tasks) * start_s + shards * shard_s) / busy,
        after_hours=after / 3600,
        operations_per_s=FILE_OPS * shards / end,
    )


def tasks_of(images: int, trials: int, shard: int, rate: float, minutes: float) -> list[tuple[int, float]]:
    """The tasks that a sweep is cut into, as harness/cluster/bundles.py does where rates are known."""
    shards = trials * ceil(images / shard)
    in_task = max(1, int(60 * minutes * rate / shard))
    sizes = [in_task] * (shards // in_task) + ([shards % in_task] if shards % in_task else [])
    return [(size, size * shard / rate) for size in sizes]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, metavar="STORE")
    parser.add_argument("--rate", type=float, default=10.0, help="images a second on one GPU (default: %(default)g)")
    for name, default in (("images", 50_000), ("trials", 100), ("shard", 250)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--minutes", type=float, default=10.0, help="work of a task (default: %(default)g)")
    asked = parser.parse_args()
    start, shard, count = measured(asked.store)
    print(f"measured: {start:.2f} s a task to its first job, {shard:.3f} s a shard (medians, {count} shards)")
    print(f"assumed: {json.dumps({'images/s': asked.rate, 'queue': QUEUE_S, 'load': LOAD_S, 'merge': MERGE_S})}")
    tasks = tasks_of(asked.images, asked.trials, asked.shard, asked.rate, asked.minutes)
    print("| GPUs | hours | computing | starting | files | idle at the end | hours after | file ops/s | bottleneck |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for gpus in (8, 64, 512):
        one = simulate(gpus, tasks, QUEUE_S + LOAD_S + start, shard, asked.trials)
        shares = " | ".join(f"{share:.1%}" for share in (one.computing, one.starting, one.overhead, one.idle))
        print(
            f"| {gpus} | {one.hours:.2f} | {shares} | {one.after_hours:.2f} | {one.operations_per_s:.0f} "
            f"| {one.bottleneck} |"
        )


if __name__ == "__main__":
    main()
