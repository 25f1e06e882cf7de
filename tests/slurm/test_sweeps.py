"""Sweeps on a real Slurm give what they give in this process, however they are driven."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from harness import cli
from harness.cluster.submitted import Submissions
from harness.identity import source
from harness.records.store import Store
from tests.helpers import sweeping
from tests.helpers.equality import assert_as_here, assert_equal, results
from tests.helpers.places import PATIENCE_S, Place, until
from tests.slurm.conftest import Slurm, calls, submitted

TWELVE = """
[[method.fake]]
grid = { steps = [2, 4], warmth = [0.0, 0.1, 0.2, 0.3, 0.4] }
[[method.fake]]
setup = { weights = "random" }
grid = { steps = [2, 4] }
"""
"""Ten trials of four shards each; two on random weights have none."""
ONE = "[method.fake]\ngrid = { steps = [4] }"


def most_at_once(store: Path) -> int:
    """How many tasks were at work at the same time, by their own lines."""
    changes = []
    for submission in Submissions(store).all():
        for index in range(len(submission.tasks)):
            events = submission.events(index)
            changes += [(events[0]["at"], 1), (events[-1]["at"], -1)]
    running, most = 0, 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


def test_twelve_trials_in_forty_shards_give_the_records_of_a_run_in_this_process(place: Place) -> None:
    place.sweep(TWELVE)
    assert place.here() == 0
    (place.folder / "sampled").unlink()
    assert place.run("--max-parallel", "4") == 0
    assert len(place.records()) == 12
    assert_equal(results(place.store), results(place.folder / "here"))
    assert len(place.lines("sampled")) == len(set(place.lines("sampled"))) == 40
    sizes = [len(submission.tasks) for submission in Submissions(place.store).all()]
    assert max(sizes) == 6  # the cluster's MaxArraySize
    assert 2 <= most_at_once(place.store) <= 4  # --max-parallel
    lives = [one.events(index) for one in Submissions(place.store).all() for index in range(len(one.tasks))]
    # Each task runs once, timing's too, which has its node to itself.
    assert {sum(event["event"] == "start" for event in life) for life in lives} == {1}
    assert {record["provenance"]["code"] for record in place.records()} == {source.code_sha256()}


def test_a_sweep_left_to_the_cluster_is_finished_without_a_driver(place: Place, cluster: Slurm) -> None:
    assert place.run("--no-wait") == 0
    assert not place.records()
    until(lambda: len(place.records()) == 3 or not cluster.call("squeue", "--noheader"), PATIENCE_S)
    assert {record["status"] for record in place.records()} == {"done"}
    arrays = [one for one in Submissions(place.store).all() if one.stage == "generate"]
    assert len(arrays) == 2
    assert most_at_once(place.store) <= 2
    before = {path: path.stat().st_mtime_ns for path in (place.store / "records").iterdir()}
    assert place.run() == 0
    assert {path: path.stat().st_mtime_ns for path in (place.store / "records").iterdir()} == before
    assert_as_here(place)


def test_a_sweep_whose_driver_and_task_were_killed_is_finished_without_a_driver(
    place: Place, cluster: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sweeping.SLEEP, "3")
    driver = place.drive(place.on_cluster())
    place.wait(lambda: place.lines("begun") and len(cluster.running()) == 2)
    assert place.end(driver, signal.SIGKILL) == -signal.SIGKILL
    cluster.call("scancel", cluster.running()[0])
    assert place.run("--no-wait") == 0
    until(lambda: len(place.records()) == 3 or not cluster.call("squeue", "--noheader"), PATIENCE_S)
    assert [record["status"] for record in place.records()] == ["done"] * 3
    assert len(set(place.lines("sampled"))) == 12
    assert len(place.lines("begun")) - 12 <= 1  # the shard that the cancelled task was at
    assert_as_here(place)


def test_trials_on_random_weights_need_neither_checkpoint_nor_reference(
    place: Place, cluster: Slurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(sweeping.WEIGHTS, str(place.folder / "nowhere.safetensors"))
    place.sweep(ONE)
    assert place.run("--no-wait", "--random-weights") == 0
    until(lambda: place.records() or not cluster.call("squeue", "--noheader"), PATIENCE_S)
    (record,) = place.records()
    assert record["quality"] is None
    assert record["flops"]["macs"] > 0
    assert record["timing"]["latency"]["total_s"] > 0
    assert not list(place.store.glob("references/*"))
    assert place.run("--random-weights") == 0
    assert cli.main(["status", str(place.store)]) == 0
    assert capsys.readouterr().out.startswith("1 trial: 1 recorded, 0 open, 0 failed\n")


def test_two_thousand_shards_cost_few_calls_little_time_and_no_memory(place: Place) -> None:
    place.sweep("[method.fake]\ngrid = { warmth = [0.0, 0.1, 0.2, 0.3] }", images=500 * sweeping.BATCH)
    place.site(poll_seconds="20")
    command = place.on_cluster("--max-parallel", "4")
    began = time.time()
    assert place.end(place.drive([*command, "--no-wait"])) == 0
    assert time.time() - began < 60
    jobs = [job for one in Submissions(place.store).all() for task in one.tasks for job in task]
    assert sum(job.split(":")[1].startswith("generate") for job in jobs) == 2000
    driver = place.drive(command)
    sizes = []
    while os.waitid(os.P_PID, driver, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        sizes.append(resident_mb(driver))
        time.sleep(1)
    assert place.end(driver) == 0
    assert [record["status"] for record in place.records()] == ["done"] * 4
    assert len(place.lines("sampled")) == len(set(place.lines("sampled"))) == 2000
    called = Counter(line.split()[0] for line in calls(place))
    assert sum(called.values()) < 50, called
    half = sizes[len(sizes) // 2 : -1]
    assert max(half) - half[0] < 20, sizes


def resident_mb(pid: int) -> float:
    """A process's resident size; 0 once it has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def test_a_dry_run_submits_nothing_and_tells_hours_from_measured_rates(
    place: Place, cluster: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(place.on_cluster("--dry-run", "--device", "cuda")) == 0  # the jobs have it, this machine need not
    assert "not measured yet, so not in these hours: 3 trials" in capsys.readouterr().out
    assert cli.main(place.command("--workers", "0")) == 0
    place.sweep("[method.fake]\ngrid = { steps = [1, 2, 4] }", images=28_000_000)
    place.site("gpus = 2")
    capsys.readouterr()
    assert cli.main([*place.on_cluster("--dry-run"), "--batch", "100000"]) == 0
    shown = capsys.readouterr().out
    assert "3 trials, 3 of them open: 840 shards with 84000000 images" in shown
    assert "not measured yet" not in shown
    hours, gpu_hours = (float(word) for word in shown.split("by measured rates ")[1].split() if word[0].isdigit())
    records = Store(place.store).records()
    mean = sum(record["generate"]["seconds"] / 28 for record in records) * 28_000_000 / 3600
    assert hours == pytest.approx(mean, rel=0.02)
    assert gpu_hours == pytest.approx(2 * hours, abs=0.02)
    assert not submitted(place)
    assert cluster.call("squeue", "--noheader") == ""
