"""Whatever happens to a sweep on a real Slurm, what is finished stays, and what can be measured is measured."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cli
from harness.cluster.submitted import Submission, Submissions, since_start
from tests.helpers import sweeping
from tests.slurm.conftest import PATIENCE_S, Place, Slurm, until
from tests.slurm.equality import assert_equal, results

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
                and b"tests.slurm.job" in words
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


def test_a_job_whose_time_is_over_goes_on_where_it_was(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.sweep("[method.fake]\nknobs = { warmth = 0.5 }", images=140)
    assert cli.main(place.command("--workers", "0")) == 0  # a store that has seen faster days: all goes in one task
    (place.folder / "sampled").unlink()
    (place.folder / "begun").unlink()
    place.sweep(ONE, images=140)
    place.site("signal-seconds = 20", time='"1"')
    monkeypatch.setenv(sweeping.SLEEP, "2.2")
    assert place.run("--max-parallel", "1") == 0
    assert [record["status"] for record in place.records()] == ["done", "done"]
    first = Submissions(place.store).all()[0]
    assert sum(job.split(":")[1].startswith("generate") for job in first.tasks[0]) == 20
    lives = [event["event"] for event in first.events(0)].count("start")
    others = sum(one.stage == "generate" for one in Submissions(place.store).all()) - 1
    assert lives + others >= 2
    assert len(set(place.lines("sampled"))) == 20
    assert len(place.lines("begun")) - 20 <= lives + others - 1


def test_trials_that_fail_fail_alone_and_status_names_each(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.sweep(
        """
[[method.fake]]
knobs = { shade = "dark" }
grid = { warmth = [0.0, 0.25, 0.5, 0.75] }
[[method.fake]]
preset = "lost"
"""
    )
    monkeypatch.setenv(sweeping.DARK, "by warmth")
    lost = f'"export {sweeping.LOST}={place.folder}/not-here.safetensors"'
    place.site(setup=f'[{lost}, "export OMP_NUM_THREADS=1"]')
    assert place.run("--retries", "1", "--images", "7") == 1
    records = {record["name"]: record for record in place.records()}
    assert Counter(record["status"] for record in records.values()) == {"done": 1, "failed": 4}
    reasons = {name: record["failure"] for name, record in records.items() if record["failure"]}
    raised, killed, starved, missing = (
        next(failure for name, failure in reasons.items() if sign in name)
        for sign in ("warmth=0.25", "warmth=0.5", "warmth=0.75", "preset=lost")
    )
    assert raised["reason"] == "RuntimeError: too dark to see (tried 2 times)"
    assert "the task ended before the job was done: FAILED" in killed["reason"]
    assert "a last word" in killed["log"]
    assert "memory" in starved["reason"]
    assert "not-here.safetensors" in missing["reason"]
    capsys.readouterr()
    assert cli.main(["status", str(place.store)]) == 0
    shown = capsys.readouterr().out
    assert "5 trials: 1 recorded, 0 open, 4 failed" in shown
    for name, failure in reasons.items():
        assert f"failed: {name}: {failure['stage']}: {failure['reason']}" in shown
        assert failure["log"].splitlines()[-1] in shown


@pytest.fixture
def small_disk(place: Place) -> Iterator[Path]:
    """The store's folder, on a disk of its own."""
    place.store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "arbench-test", place.store], check=True)
    yield place.store
    for driver in list(place.drivers):
        place.end(driver, signal.SIGKILL)
    subprocess.run(["umount", "--lazy", place.store], check=True)


def test_on_a_full_disk_a_sweep_ends_in_words_and_goes_on_when_there_is_room(
    place: Place, small_disk: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place.sweep(ONE, images=70)
    monkeypatch.setenv(sweeping.SLEEP, "2")
    driver = place.drive(place.on_cluster())
    place.wait(lambda: list(small_disk.glob("work/*/shards/0*.npz")))
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    assert place.end(driver) != 0
    shown = capfd.readouterr().err
    assert "No space left on device" in shown
    assert "Traceback" not in shown
    cluster.empty()
    kept = len(list(small_disk.glob("work/*/shards/0*.npz")))
    assert 1 <= kept < 10
    ballast.unlink()
    monkeypatch.setenv(sweeping.SLEEP, "0")
    (place.folder / "sampled").unlink()
    assert place.run("--retry-failed") == 0
    assert len(place.lines("sampled")) == 10 - kept
    assert place.here() == 0
    assert_equal(results(place.store), results(place.folder / "here"))
