"""Sweeps on a real Slurm give what they give here, whatever happens to them on the way."""

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness import cli, snapshot
from harness.store import Store
from tests import sweeping
from tests.slurm.conftest import Place, Slurm, until

TWELVE = "grid = { steps = [1, 2, 4], warmth = [0.0, 0.1, 0.2, 0.3] }"


def sweep(place: Place, block: str, images: int = 28) -> None:
    """Write the sweep with another block and number of images."""
    text = sweeping.SWEEP.replace("grid = { steps = [1, 2, 4] }", block).replace("images = 28", f"images = {images}")
    (place.folder / "small.toml").write_text(text)


def results(folder: Path) -> list[dict[str, Any]]:
    """The records without what two runs cannot share: time, place and date. Shards may be cut elsewhere: metrics agree
    to 1e-9."""
    found = []
    for record in Store(folder).records():
        assert record.pop("timing") is not None
        record.pop("provenance")
        record["generate"].pop("seconds")
        found.append(record)
    return found


def assert_equal(one: Any, other: Any, where: str = "record") -> None:
    """The same plain values, floats to 1e-9."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_equal(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for place, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_equal(left, right, f"{where}[{place}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-9), where
    else:
        assert one == other, where


def test_twelve_trials_in_forty_eight_shards_give_the_records_of_a_run_in_this_process(place: Place) -> None:
    sweep(place, TWELVE)
    assert place.here() == 0
    (place.folder / "sampled").unlink()
    assert sweeping.forked(lambda: cli.main(place.on_cluster())) == 0
    found = results(place.store)
    assert len(found) == 12
    assert_equal(found, results(place.folder / "here"))
    assert len(place.lines("sampled")) == len(set(place.lines("sampled"))) == 48
    arrays = [
        int(line.split("--array=")[-1].split("%")[0].split("-")[1]) for line in scripts(place) if "--array=" in line
    ]
    assert arrays and max(arrays) < 10  # the cluster's MaxArraySize
    code = {record["provenance"]["code"] for record in Store(place.store).records()}
    assert code == {snapshot.code_sha256()}


def scripts(place: Place) -> list[str]:
    """The lines of all batch scripts that were submitted."""
    files = place.store.glob("cluster/*/[0-9]*_submission.sh")
    return [line for file in files for line in file.read_text().splitlines()]


def test_a_sweep_left_to_the_cluster_is_finished_without_a_driver(place: Place, cluster: Slurm) -> None:
    assert sweeping.forked(lambda: cli.main(place.on_cluster("--no-wait"))) == 0
    assert not Store(place.store).records()
    until(lambda: len(Store(place.store).records()) == 3 or not cluster.call("squeue", "--noheader"), 240)
    assert {record["status"] for record in Store(place.store).records()} == {"done"}
    before = {path: path.stat().st_mtime_ns for path in (place.store / "records").iterdir()}
    assert sweeping.forked(lambda: cli.main(place.on_cluster())) == 0
    assert {path: path.stat().st_mtime_ns for path in (place.store / "records").iterdir()} == before
    assert place.here() == 0
    assert_equal(results(place.store), results(place.folder / "here"))


def test_whatever_happens_to_a_sweep_its_records_are_complete_and_equal(
    place: Place, cluster: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(place, "grid = { steps = [1, 2, 4], warmth = [0.0, 0.1, 0.2] }", images=105)
    assert place.here() == 0
    for name in ("sampled", "begun"):
        (place.folder / name).unlink()
    monkeypatch.setenv(sweeping.SLEEP, "1.5")
    drive = place.on_cluster("--retries", "5")
    driver = sweeping.fork(lambda: cli.main(drive))
    hit = 0

    def settle() -> list[str]:
        """Wait until tasks are at work and have got something done since; the jobs that run."""
        before = len(place.lines("sampled"))
        until(lambda: len(place.lines("sampled")) > before and cluster.running(), 180)
        return cluster.running()

    cluster.call("scontrol", "requeue", settle()[0])
    hit += 1
    cluster.call("scancel", "--signal=USR2", settle()[0])  # what Slurm sends when a job's time is nearly over
    hit += 1
    settle()
    os.kill(at_work(place.store)[0], signal.SIGKILL)
    hit += 1
    cluster.call("scancel", settle()[0])
    hit += 1
    hit += len(settle())
    cluster.restart("slurmd")
    settle()
    cluster.restart("slurmctld")
    settle()
    os.kill(driver, signal.SIGKILL)
    assert sweeping.exit_code(driver) == -signal.SIGKILL
    driver = sweeping.fork(lambda: cli.main(drive))
    hit += len(settle())
    high = cluster.call(
        "sbatch", "--parsable", "--partition=high", "--ntasks=4", "--mem=1G", "--output=/dev/null", "--wrap=sleep 3"
    )
    until(
        lambda: high.strip() in cluster.running() or high.strip() not in cluster.call("squeue", "-h", "-o", "%A"), 120
    )

    assert sweeping.exit_code(driver) == 0
    assert len(Store(place.store).records()) == 9
    assert_equal(results(place.store), results(place.folder / "here"))
    begun = place.lines("begun")
    assert len(set(begun)) == 135
    # A fault costs each task that it hits the shard at hand at most.
    assert len(begun) - 135 <= hit, Counter(begun).most_common(5)


def at_work(store: Path) -> list[int]:
    """The processes that do a store's jobs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if (
            b"tests.slurm.job" in words
            and any(str(store).encode() in word for word in words)
            and b"srun" not in words[0]
        ):
            found.append(int(path.parent.name))
    return found


def test_a_job_whose_time_is_over_goes_on_where_it_was(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    site = place.folder / "site.toml"
    site.write_text(site.read_text().replace('time = "20"', 'time = "1"') + "signal-seconds = 45\n")
    sweep(place, "grid = { steps = [4] }", images=70)
    monkeypatch.setenv(sweeping.SLEEP, "4")
    place_on = place.on_cluster("--max-parallel", "1", "--shard-minutes", "10")
    # A store that has seen faster days: all ten shards come in one task, which cannot end in time.
    assert sweeping.forked(lambda: cli.main(place_on)) == 0
    (record,) = Store(place.store).records()
    assert record["status"] == "done"
    assert len(set(place.lines("sampled"))) == 10
    assert len(place.lines("begun")) <= 10 + 3


def test_two_thousand_shards_cost_few_calls_little_time_and_no_memory(place: Place) -> None:
    sweep(place, "grid = { steps = [1], warmth = [0.0, 0.1, 0.2, 0.3] }", images=500)
    site = place.folder / "site.toml"
    site.write_text(site.read_text().replace("poll-seconds = 2", "poll-seconds = 10"))
    command = [*place.on_cluster(), "--batch", "1"]
    began = time.time()
    driver = sweeping.fork(lambda: cli.main(command))
    sizes = []
    while os.waitpid(driver, os.WNOHANG) == (0, 0):
        if list(place.store.glob("cluster/*/submitted.json")):
            sizes.append(resident_mb(driver))
        time.sleep(1)
    records = Store(place.store).records()
    assert [record["status"] for record in records] == ["done"] * 4
    first = min(path.stat().st_mtime for path in place.store.glob("cluster/*/submitted.json"))
    assert first - began < 60
    shards = [line for line in (place.folder / "sampled").read_text().splitlines() if line.startswith("1 ")]
    assert len(shards) >= 2000
    calls = Counter(line.split()[0] for line in place.calls())
    assert sum(calls.values()) < 50, calls
    sizes = [size for size in sizes if size]
    assert max(sizes[len(sizes) // 2 :]) - sizes[len(sizes) // 2] < 20, sizes


def resident_mb(pid: int) -> float:
    """A process's resident size; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def test_trials_that_fail_fail_alone_and_status_names_each(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.folder / "small.toml").write_text(
        sweeping.SWEEP.replace("[method.fake]\ngrid = { steps = [1, 2, 4] }", "")
        + """
[[method.fake]]
knobs = { shade = "dark" }
grid = { warmth = [0.0, 0.25, 0.5, 0.75] }
[[method.fake]]
preset = "lost"
"""
    )
    monkeypatch.setenv(sweeping.DARK, "by warmth")
    site = place.folder / "site.toml"
    line = f'"export {sweeping.LOST}={place.folder}/not-here.safetensors"'
    site.write_text(site.read_text().replace("setup = [", f"setup = [{line}, "))
    command = [*place.on_cluster("--retries", "1"), "--images", "7"]
    assert sweeping.forked(lambda: cli.main(command)) == 1
    records = {record["name"]: record for record in Store(place.store).records()}
    assert Counter(record["status"] for record in records.values()) == {"done": 1, "failed": 4}
    reasons = {name: record["failure"] for name, record in records.items() if record["failure"]}
    raised, killed, starved, lost = (
        next(failure for name, failure in reasons.items() if sign in name)
        for sign in ("warmth=0.25", "warmth=0.5", "warmth=0.75", "preset=lost")
    )
    assert raised["reason"] == "RuntimeError: too dark to see (tried 2 times)"
    assert "the task ended before the job was done: FAILED" in killed["reason"]
    assert "a last word" in killed["log"]
    assert "memory" in starved["reason"]
    assert "not-here.safetensors" in lost["reason"]
    capsys.readouterr()
    assert cli.main(["status", str(place.store)]) == 0
    shown = capsys.readouterr().out
    assert "5 trials: 1 recorded, 0 open, 4 failed" in shown
    for name, failure in reasons.items():
        assert f"failed: {name}: {failure['stage']}: {failure['reason']}" in shown
        assert failure["log"].splitlines()[-1] in shown


def test_two_drivers_on_one_store_have_each_shard_computed_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sweeping.SLEEP, "0.5")
    drivers = [sweeping.fork(lambda: cli.main(place.on_cluster("--max-parallel", "2"))) for _ in range(2)]
    assert [sweeping.exit_code(driver) for driver in drivers] == [0, 0]
    assert sorted(Counter(place.lines("sampled")).values()) == [1] * 12
    monkeypatch.delenv(sweeping.SLEEP)
    assert place.here() == 0
    assert_equal(results(place.store), results(place.folder / "here"))


OPTIONS = {
    'partition = "high"': "Partition=high",
    'account = "vision"': "Account=vision",
    "cpus = 2": "CPUs/Task=2",
    'memory = "123M"': "MinMemoryNode=123M",
    'time = "1:23:00"': "TimeLimit=01:23:00",
    'constraint = "quiet"': "Features=quiet",
    'gres = "gpu:2"': "gres:gpu:2",
    "nice = 7": "Nice=7",
    'comment = "for the paper"': "Comment=for the paper",
    'begin = "now+1hour"': "EligibleTime=",
    'qos = "normal"': "QOS=normal",
    'mail-user = "someone@example.org"': "MailUser=someone@example.org",
    'mail_type = "FAIL"': "MailType=FAIL",
    "nodes = 1": "NumNodes=1",
    "contiguous = true": "Contiguous=1",
}


def test_every_option_of_the_site_file_reaches_the_job(
    place: Place, cluster: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    python = "\n".join(
        line for line in (place.folder / "site.toml").read_text().splitlines() if line.startswith("python")
    )
    (place.folder / "site.toml").write_text("\n".join([python, *OPTIONS, '[timing]\nconstraint = "loud"\n']))
    assert cli.main(place.on_cluster("--no-wait")) == 0
    shown = cluster.call("scontrol", "show", "job")
    jobs = [
        job
        for job in shown.split("\n\n")
        if "JobState=PENDING" in job and "dependency" not in job.lower().split("\n")[0]
    ]
    generate = next(job for job in jobs if "Features=quiet" in job)
    assert [sign for sign in OPTIONS.values() if sign not in generate] == []
    timing = next(job for job in jobs if "Features=loud" in job)
    assert "OverSubscribe=NO" in timing
    assert "OverSubscribe=OK" in generate
    capsys.readouterr()
    assert cli.main(["status", str(place.store)]) == 0
    assert "pending (" in capsys.readouterr().out
    assert cli.main(["cancel", str(place.store)]) == 0
    until(lambda: not cluster.call("squeue", "--noheader"), 30)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("partiton = 'main'", "unknown option 'partiton'; did you mean 'partition'?"),
        ("partition = 'mian'", "unknown partition 'mian'; did you mean 'main'? (valid: high, main)"),
        ("account = 'visoin'", "(valid: root, vision)"),
        ("constraint = 'silent'", "(valid: loud, quiet)"),
        ("output = 'mine.log'", "'output' is set by arbench itself"),
        ("container = 'no-such-program image.sif'", "container: no command 'no-such-program' here"),
    ],
)
def test_what_the_cluster_does_not_have_is_refused_before_submission(
    place: Place, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    (place.folder / "site.toml").write_text(line + "\n")
    assert cli.main(place.on_cluster()) == 2
    (shown,) = capsys.readouterr().err.splitlines()
    assert said in shown
    assert str(place.folder / "site.toml") in shown
    assert not [
        call
        for call in place.calls()
        if call.startswith("sbatch") and "--test-only" not in call and "--help" not in call
    ]
    assert not place.store.exists()


def test_a_cancelled_run_says_so_and_goes_on_when_started_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sweeping.SLEEP, "1")
    driver = sweeping.fork(lambda: cli.main(place.on_cluster()))
    until(lambda: place.lines("sampled"), 120)
    assert cli.main(["cancel", str(place.store)]) == 0
    assert sweeping.exit_code(driver) == 2
    assert not Store(place.store).records()
    monkeypatch.setenv(sweeping.SLEEP, "0")
    assert sweeping.forked(lambda: cli.main(place.on_cluster())) == 0
    assert len(Store(place.store).records()) == 3


def test_a_dry_run_submits_nothing_and_tells_hours_from_measured_rates(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(place.on_cluster("--dry-run")) == 0
    assert "not measured yet, so not in these hours: 3 trials" in capsys.readouterr().out
    place.command()
    assert cli.main(place.command("--workers", "0")) == 0
    sweep(place, "grid = { steps = [1, 2, 4] }", images=28_000_000)
    capsys.readouterr()
    assert cli.main([*place.on_cluster("--dry-run"), "--batch", "100000"]) == 0
    shown = capsys.readouterr().out
    assert "3 trials, 3 of them open: 840 shards with 84000000 images" in shown
    assert "not measured yet" not in shown
    hours = float(shown.split("by measured rates ")[1].split()[0])
    records = Store(place.store).records()
    mean = sum(record["generate"]["seconds"] / 28 for record in records) * 28_000_000 / 3600
    assert hours == pytest.approx(mean, rel=0.02)
    assert not [call for call in place.calls() if call.startswith("sbatch /")]
    assert subprocess.run(["squeue", "-h"], capture_output=True, check=True).stdout == b""
