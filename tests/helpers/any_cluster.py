"""What holds of a sweep on a cluster, whatever its scheduler: tests that folders of tests inherit, with a fixture
``place``."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from harness import cli
from harness.cluster.schedulers import Schedulers, TaskId
from harness.cluster.submitted import Submissions
from tests.helpers import sweeping
from tests.helpers.equality import assert_as_here, assert_equal, results
from tests.helpers.places import PATIENCE_S, Place, until

ONE = "[method.fake]\ngrid = { steps = [4] }"
SIX = "[method.fake]\ngrid = { steps = [1, 2, 4], warmth = [0.0, 0.1] }"


def running(place: Place) -> list[TaskId]:
    """The tasks of the place's store that wait or run."""
    submissions = Submissions(place.store).all()
    ours = {one.id for one in submissions}
    return [task for task in Schedulers().queue(submissions) if task[0] in ours]


class AnyCluster:
    """Sweeps on a cluster."""

    KILLED: ClassVar[str]
    """How the scheduler says that a task's process was killed."""

    def test_the_records_are_those_of_a_run_in_this_process(self, place: Place) -> None:
        place.sweep(SIX)
        assert place.here() == 0
        (place.folder / "sampled").unlink()
        assert place.run() == 0
        assert len(place.records()) == 6
        assert_equal(results(place.store), results(place.folder / "here"))
        assert len(place.lines("sampled")) == len(set(place.lines("sampled"))) == 24
        lives = [one.events(index) for one in Submissions(place.store).all() for index in range(len(one.tasks))]
        assert {sum(event["event"] == "start" for event in life) for life in lives} == {1}

    def test_a_killed_driver_and_a_killed_task_cost_less_than_a_shard_each(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.sweep("[method.fake]\ngrid = { steps = [1, 2, 4] }", images=70)
        monkeypatch.setenv(sweeping.SLEEP, "1")
        driver = place.drive(place.on_cluster())
        place.wait(lambda: len(place.lines("sampled")) > 2)
        assert place.end(driver, signal.SIGKILL) == -signal.SIGKILL
        begun = len(place.lines("begun"))
        until(lambda: len(place.lines("begun")) > begun, PATIENCE_S)  # its tasks go on
        victim = processes(place)[0]
        os.kill(victim, signal.SIGKILL)
        assert place.run() == 0
        assert [record["status"] for record in place.records()] == ["done"] * 3
        assert len(set(place.lines("sampled"))) == 30
        assert len(place.lines("begun")) - 30 <= 1, Counter(place.lines("begun")).most_common(3)
        assert_as_here(place)

    def test_two_drivers_on_one_store_have_each_shard_computed_once(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(sweeping.SLEEP, "0.5")
        drivers = [place.drive(place.on_cluster()) for _ in range(2)]
        assert [place.end(driver) for driver in drivers] == [0, 0]
        assert len(list((place.store / "records").glob("*.json"))) == 3
        assert sorted(Counter(place.lines("sampled")).values()) == [1] * 12
        assert_as_here(place)

    def test_a_cancelled_run_says_so_and_goes_on_when_started_again(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.sweep(ONE)
        monkeypatch.setenv(sweeping.SLEEP, "1")
        driver = place.drive(place.on_cluster())
        place.wait(lambda: place.lines("sampled"))
        assert cli.main(["cancel", str(place.store)]) == 0
        assert place.end(driver) == 2
        assert not place.records()
        until(lambda: not running(place), PATIENCE_S)
        monkeypatch.setenv(sweeping.SLEEP, "0")
        assert place.run() == 0
        assert len(place.records()) == 1

    def test_a_job_whose_time_is_over_goes_on_where_it_was(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
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
        self, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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
        lost = f"env {sweeping.LOST}={place.folder}/not-here.safetensors"
        place.site(python=f'"{lost} {sys.executable} -m tests.helpers.job"')
        assert place.run("--retries", "1", "--images", "7") == 1
        records = {record["name"]: record for record in place.records()}
        assert Counter(record["status"] for record in records.values()) == {"done": 1, "failed": 4}
        reasons = {name: record["failure"] for name, record in records.items() if record["failure"]}
        raised, killed, starved, missing = (
            next(failure for name, failure in reasons.items() if sign in name)
            for sign in ("warmth=0.25", "warmth=0.5", "warmth=0.75", "preset=lost")
        )
        assert raised["reason"] == "RuntimeError: too dark to see (tried 2 times)"
        assert killed["reason"].startswith(f"the task ended before the job was done: {self.KILLED}")
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


class OnSmallDisk:
    """Sweeps whose store is on a disk of its own; root makes it."""

    @pytest.fixture
    def small_disk(self, place: Place) -> Iterator[Path]:
        """The store's folder."""
        place.store.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "arbench-test", place.store], check=True)
        yield place.store
        place.end_all()
        subprocess.run(["umount", "--lazy", place.store], check=True)

    def test_on_a_full_disk_a_sweep_ends_in_words_and_goes_on_when_there_is_room(
        self, place: Place, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
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
        place.empty()
        kept = len(list(small_disk.glob("work/*/shards/0*.npz")))
        assert 1 <= kept < 10
        ballast.unlink()
        monkeypatch.setenv(sweeping.SLEEP, "0")
        (place.folder / "sampled").unlink()
        assert place.run("--retry-failed") == 0
        assert len(place.lines("sampled")) == 10 - kept
        assert_as_here(place)


def processes(place: Place) -> list[int]:
    """The processes in which tasks of the place's store do their jobs."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"tests.helpers.job" in words and b"python" in words[0] and str(place.store).encode() in b" ".join(words):
            found.append(int(path.name))
    return found
