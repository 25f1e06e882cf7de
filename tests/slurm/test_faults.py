"""Whatever happens to a sweep on a real Slurm, what is finished stays, and what can be measured is measured."""

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from harness.cluster.submitted import Submission, Submissions, since_start
from tests.helpers import sweeping
from tests.helpers.equality import assert_equal, results
from tests.helpers.places import PATIENCE_S, Place, until
from tests.slurm.conftest import Slurm

SIX = "[method.fake]\ngrid = { steps = [1, 2, 4], warmth = [0.0, 0.1] }"
ONE = "[method.fake]\ngrid = { steps = [4] }"


class Running:
    """A task that runs now: Slurm's name of it, its process."""

    def __init__(self, submission: Submission, index: int) -> None:
        self.submission, self.index = submission, index
        self.job = str(submission.job(index))
        starts = [event for event in submission.events(index) if event["event"] == "start"]
        self.raw = str(starts[-1]["JOB_ID"])

    @property
    def interrupted(self) -> bool:
        """Whether it has told of a warning from Slurm."""
        return any(event["event"] == "interrupted" for event in self.submission.events(self.index))

    @property
    def process(self) -> int:
        """The Python process, not srun or the batch script."""
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
                around = (path / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            signs = (f"SLURM_JOB_ID={self.raw}", "SLURM_PROCID=0", f"SLURM_CONF={os.environ['SLURM_CONF']}")
            if (
                {sign.encode() for sign in signs} <= set(around)
                and b"tests.helpers.job" in words
                and b"python" in words[0]
            ):
                return int(path.name)
        raise AssertionError(f"no process of job {self.raw}")


def settled(place: Place, slurm: Slurm) -> Running:
    """Wait until a task has finished a shard since now, runs, and is far from its end."""
    began = time.time()

    def find() -> Running | None:
        running = set(slurm.running())
        for submission in Submissions(place.store).all():
            for index, jobs in enumerate(submission.tasks):
                life = since_start(submission.events(index))
                fruitful = life and life[-1]["event"] == "done" and life[-1]["at"] > began
                if fruitful and len(jobs) - len(life or ()) >= 4 and submission.job(index) in running:
                    return Running(submission, index)
        return None

    found = place.wait(find)
    assert found is not None
    return found


def test_whatever_happens_to_a_sweep_its_records_are_complete_and_equal(
    place: Place, cluster: Slurm, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place.sweep(SIX, images=154)
    assert place.here() == 0
    for name in ("sampled", "begun"):
        (place.folder / name).unlink()
    monkeypatch.setenv(sweeping.SLEEP, "1.5")
    command = place.on_cluster("--retries", "5", "--max-parallel", "3")
    driver = place.drive(command)
    place.wait(lambda: place.lines("sampled"))
    watched = place.drive(["status", str(place.store), "--watch", "--every", "2"])
    hit = 0

    cluster.call("scontrol", "requeue", settled(place, cluster).job)
    hit += 1
    warned = settled(place, cluster)
    # What Slurm sends when a job's time is nearly over. submitit then requeues it, which scancel may call an error.
    subprocess.run(["scancel", "--signal=USR2", warned.job], check=False)
    place.wait(lambda: warned.interrupted)
    hit += 1
    os.kill(settled(place, cluster).process, signal.SIGKILL)
    hit += 1
    cluster.call("scancel", settled(place, cluster).job)
    hit += 1
    settled(place, cluster)
    hit += len(cluster.running())
    cluster.fail_node()
    settled(place, cluster)
    hit += len(cluster.running())
    cluster.restart("slurmd")
    settled(place, cluster)
    cluster.restart("slurmctld")
    settled(place, cluster)
    assert place.end(driver, signal.SIGKILL) == -signal.SIGKILL
    driver = place.drive(command)
    settled(place, cluster)
    hit += len(cluster.running())
    high = cluster.call(
        "sbatch", "--parsable", "--partition=high", "--ntasks=4", "--mem=1G", "--output=/dev/null", "--wrap=sleep 3"
    ).strip()
    until(lambda: high in cluster.running() or high not in cluster.call("squeue", "-h", "-o", "%A"), PATIENCE_S)

    assert place.end(driver) == 0
    assert len(place.records()) == 6
    assert_equal(results(place.store), results(place.folder / "here"))
    begun = place.lines("begun")
    assert len(set(begun)) == 132
    # A fault costs each task that it hits less than the shard at hand.
    assert len(begun) - 132 <= hit, Counter(begun).most_common(5)
    assert place.end(watched) == 0
    shown = capfd.readouterr().out
    assert "running" in shown and "images/s" in shown and " left\n" in shown
    assert "6 trials: 6 recorded, 0 open, 0 failed\n132 of 132 shards\n" in shown
