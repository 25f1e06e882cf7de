"""Runs: nothing finished is computed twice, a killed run loses nothing, a failing trial fails alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import cli
from harness.checkpoints import tensors
from harness.errors import ArbenchError
from harness.jobs import bench
from harness.jobs.bench import Bench
from harness.records.store import Store
from harness.run import driver
from harness.stages.timing import stage as timing
from tests.helpers import sweeping

ROOT = Path(__file__).parents[3]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder with the small sweep in it, the fake method in the real ones' place."""
    with sweeping.in_folder(tmp_path) as patch:
        patch.setenv(sweeping.LOG, str(tmp_path / "sampled.log"))
        yield tmp_path


def command(folder: Path, *more: str, store: str = "store") -> list[str]:
    sweep = str(folder / "small.toml")
    return ["run", sweep, "--store", str(folder / store), "--batch", str(sweeping.BATCH), "--workers", "0", *more]


def sampled(folder: Path) -> Counter[str]:
    """Shards that have been sampled, each with how often. Other stages sample batches of other sizes."""
    log = folder / "sampled.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(line for line in lines if line.startswith(f"{sweeping.COMPUTED} "))


def results(folder: Path) -> list[dict[str, Any]]:
    """The records without what two runs cannot share: time, place and date."""
    found = []
    for record in Store(folder).records():
        assert record.pop("timing") is not None
        record.pop("provenance")
        record["generate"].pop("seconds")
        found.append(record)
    return found


def record_bytes(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (folder / "records").iterdir()}


def test_a_sweep_leaves_a_whole_record_a_trial(small: Path) -> None:
    assert cli.main(command(small)) == 0
    store = Store(small / "store")
    records = store.records()
    assert [record["trial"]["knobs"]["steps"] for record in records] == [1, 2, 4]
    for record in records:
        assert record["status"] == "done"
        assert record["failure"] is None
        assert record["generate"]["images"] == 28
        assert record["generate"]["steps_mean"] == record["trial"]["knobs"]["steps"]
        assert record["generate"]["steps_std"] == 0
        assert record["quality"]["fid"]["tiny"] > 0
        assert record["flops"]["flops"] == 2 * record["flops"]["macs"] > 0
        assert record["timing"]["throughput"]["batch"] == 3
        assert record["parameters"]["network"] == sum(p.numel() for p in sweeping.SweepMethod().network.parameters())
        assert record["provenance"]["weights"].keys() == {"fake.safetensors"}
        assert record["provenance"]["versions"]["torch"] == torch.__version__.partition("+")[0]
        arrays = store.arrays(record)
        assert arrays["thumbnails"].shape == (28, 1, 4, 4)
        assert arrays["steps"].shape == (28,)
        assert list(arrays["labels"][:4]) == [0, 1, 0, 1]
    assert json.loads((small / "store" / "reference.json").read_text())["is"] >= 1
    assert len(store.table()) == 3


def test_a_second_run_computes_nothing_and_touches_no_record(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(command(small))
    before, computed = record_bytes(small / "store"), sampled(small)
    assert sum(computed.values()) == 12
    assert cli.main(command(small)) == 0
    assert "3 trials: 0 measured, 3 already recorded, 0 failed" in capsys.readouterr().out
    assert record_bytes(small / "store") == before
    assert sampled(small) == computed


def test_the_size_of_shards_does_not_move_a_figure(small: Path) -> None:
    cli.main(command(small, store="one"))
    cli.main([*command(small, store="two"), "--batch", "14"])
    assert results(small / "one") == results(small / "two")


def test_shards_of_another_size_are_taken_up(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.main(command(small, store="undisturbed"))
    (small / "sampled.log").unlink()
    with monkeypatch.context() as patch:
        _interrupt_after(patch, 5)
        assert cli.main(command(small)) == 130
    assert cli.main([*command(small), "--batch", "14"]) == 0
    assert results(small / "store") == results(small / "undisturbed")


def _interrupt_after(monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    done = 0
    real = Bench.do

    def do(self: Bench, job: Any) -> None:
        nonlocal done
        if done == jobs:
            raise KeyboardInterrupt
        done += 1
        real(self, job)

    monkeypatch.setattr(Bench, "do", do)


def test_ctrl_c_leaves_the_store_sane(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        _interrupt_after(patch, 6)
        assert cli.main(command(small)) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "arbench: interrupted; the same command goes on from here"
    assert [record["timing"] for record in Store(small / "store").records()] == [None]  # one trial is measured
    assert cli.main(command(small)) == 0
    assert all(record["timing"] for record in Store(small / "store").records())
    assert set(sampled(small).values()) == {1}


def test_a_run_killed_at_ten_random_moments_ends_as_an_undisturbed_one(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.main(command(small, store="undisturbed"))
    (small / "sampled.log").unlink()
    monkeypatch.setenv(sweeping.SLEEP, "0.02")
    began = time.monotonic()
    assert sweeping.forked(lambda: cli.main(command(small, store="rehearsal"))) == 0
    whole = time.monotonic() - began
    (small / "sampled.log").unlink()
    finished: Counter[str] = Counter()
    kills = 0
    rng = random.Random(0)
    while kills < 10:
        before = sampled(small)
        shards = set((small / "store").rglob("*-*.npz"))
        code = sweeping.forked(lambda: cli.main(command(small)), rng.uniform(0, whole / 4))
        if code == 0:  # it was faster than the killer: what is left of ten is a run with everything recorded
            finished = sampled(small)
        elif finished:
            assert sampled(small) == finished
        again = [line for line, count in (sampled(small) - before).items() if before[line] and count]
        # A shard may be computed again only if the kill came between its computation and its file.
        assert len(again) <= 1, (again, shards)
        kills += 1
    assert cli.main(command(small)) == 0
    assert results(small / "store") == results(small / "undisturbed")
    assert sum(sampled(small).values()) - len(sampled(small)) <= kills
    assert not list((small / "store").rglob("shards"))


def test_two_runners_on_one_store_leave_what_one_leaves(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.main(command(small, store="alone"))
    monkeypatch.setenv(sweeping.SLEEP, "0.02")
    children = [
        sweeping.fork(lambda: cli.main(command(small))),
        sweeping.fork(lambda: cli.main([*command(small), "--batch", "14"])),
    ]
    assert [sweeping.exit_code(child) for child in children] == [0, 0]
    assert results(small / "store") == results(small / "alone")


def test_a_failing_trial_fails_alone_and_is_retried_on_demand(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = 'grid = { steps = [1, 2, 4], shade = ["dark", "plain"] }'
    (small / "small.toml").write_text(sweeping.SWEEP.replace("grid = { steps = [1, 2, 4] }", grid))
    monkeypatch.setenv(sweeping.DARK, "raise")
    assert cli.main(command(small)) == 1
    records = Store(small / "store").records()
    assert Counter(record["status"] for record in records) == {"done": 3, "failed": 3}
    failed = [record for record in records if record["status"] == "failed"]
    assert {record["trial"]["knobs"]["shade"] for record in failed} == {"dark"}
    assert failed[0]["failure"]["stage"] == "generate"
    assert failed[0]["failure"]["reason"] == "RuntimeError: too dark to see"
    assert "sweeping.py" in failed[0]["failure"]["log"]
    assert "3 trials failed, their records say why; --retry-failed" in capsys.readouterr().err

    before = record_bytes(small / "store")
    monkeypatch.delenv(sweeping.DARK)
    assert cli.main(command(small)) == 1  # still recorded as failed: not tried again unasked
    assert record_bytes(small / "store") == before
    assert cli.main(command(small, "--retry-failed")) == 0
    assert {record["status"] for record in Store(small / "store").records()} == {"done"}
    finished = {name for name, (content, _) in before.items() if b'"status": "done"' in content}
    after = record_bytes(small / "store")
    assert all(after[name] == before[name] for name in finished)


def test_a_trial_that_fails_while_it_is_timed_fails_alone(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = timing.interleaved

    def fail_one(*given: Any) -> list[dict[str, Any]]:
        return [{"failure": "RuntimeError: too slow", "log": "where"}, *real(*given)[1:]]

    monkeypatch.setattr(bench, "interleaved", fail_one)
    assert cli.main(command(small)) == 1
    records = Store(small / "store").records()
    assert [record["status"] for record in records] == ["failed", "done", "done"]
    assert records[0]["failure"] == {"stage": "timing", "reason": "RuntimeError: too slow", "log": "where"}


def test_other_weights_make_other_records(small: Path) -> None:
    cli.main(command(small))
    method = sweeping.SweepMethod()
    tensors.write_weights(small / "fake.safetensors", method.state_dict(), {})
    assert cli.main(command(small)) == 0
    assert len(list(Store(small / "store").all_records())) == 6
    assert len(Store(small / "store").records()) == 3


def test_another_timing_protocol_measures_time_alone(small: Path) -> None:
    cli.main(command(small))
    before = sampled(small)
    text = sweeping.SWEEP.replace("throughput_batch = 3", "throughput_batch = 2")
    (small / "small.toml").write_text(text)
    assert cli.main(command(small)) == 0
    assert sampled(small) == before
    assert {record["timing"]["throughput"]["batch"] for record in Store(small / "store").records()} == {2}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("[method.fake]=>[method.fkae]", "unknown method 'fkae'; did you mean 'fake'? (valid: fake)"),
        ("steps = [=>stesp = [", "unknown knob of fake 'stesp'; did you mean 'steps'?"),
        ("[1, 2, 4]=>[1, 2, 40]", "knob steps = 40 is out of range (valid: int from 1 to 4)"),
        ("warmup = 1=>warm_up = 1", "small.toml: [timing]: unknown key 'warm_up'; did you mean 'warmup'?"),
        (
            "warmup = 1=>warmup = 0.5",
            "small.toml: [timing]: key 'warmup' must be a whole number from 0 to 1000000000, got 0.5",
        ),
        ("images = 28=>images = 28\nextractor = 'lost'", "cannot read weights lost.safetensors"),
        ("truncate the weights", "cannot read weights"),
        ("remove the weights", "cannot read"),
        ("store in a file", "cannot be written"),
        ("store in /proc", "store /proc/store cannot be written"),
        ("no sweep", "cannot read sweep file"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(
    small: Path, capsys: pytest.CaptureFixture[str], spoil: str, said: str
) -> None:
    assert cli.main(command(small)) == 0
    before = record_bytes(small / "store")
    capsys.readouterr()
    asked = command(small)
    weights = small / "fake.safetensors"
    match spoil:
        case "truncate the weights":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "remove the weights":
            weights.unlink()
        case "store in a file":
            asked = command(small, store="small.toml/store")
        case "store in /proc":
            asked[asked.index("--store") + 1] = "/proc/store"
        case "no sweep":
            (small / "small.toml").unlink()
        case _:
            old, new = spoil.split("=>")
            text = (small / "small.toml").read_text()
            assert old in text
            (small / "small.toml").write_text(text.replace(old, new))
    assert cli.main(asked) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("arbench: ")
    assert said in line
    assert record_bytes(small / "store") == before


def test_weights_that_a_method_does_not_name_are_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping.SweepMethod, "weight_files", classmethod(lambda cls, preset: ()))
    with pytest.raises(ArbenchError, match=r"'fake' loads fake.safetensors, which its weight_files\(\) does not name"):
        driver.run(runner_sweep(small), Store(small / "store"), driver.Options(workers=0))


def runner_sweep(folder: Path) -> Any:
    from harness import sweep

    return sweep.load(folder / "small.toml")


# --- with worker processes, which take seconds to start ---------------------------------------------------------------


def _started(folder: Path, *more: str, store: str = "store") -> "subprocess.Popen[str]":
    arguments = command(folder, "--workers", "2", *more, store=store)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.sweeping", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _workers_at_work(driver: "subprocess.Popen[str]", folder: Path) -> list[int]:
    """Wait until a worker has finished a shard; their process ids, without Python's resource tracker."""
    deadline = time.monotonic() + 120
    while not list(folder.rglob("0*-*.npz")):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    command_lines = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in _children(driver.pid)}
    return [child for child, line in command_lines.items() if b"spawn_main" in line]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_workers_die_with_a_killed_driver_and_a_killed_worker_is_replaced(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.main(command(small, store="undisturbed"))
    (small / "sampled.log").unlink()
    monkeypatch.setenv(sweeping.SLEEP, "0.3")

    driver = _started(small)
    workers = _workers_at_work(driver, small / "store")
    assert workers
    driver.kill()
    driver.communicate()
    deadline = time.monotonic() + 10
    while any(_alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kept = len(list((small / "store").rglob("0*-*.npz")))

    driver = _started(small)
    while len(list((small / "store").rglob("0*-*.npz"))) <= kept:
        time.sleep(0.05)
        assert driver.poll() is None, driver.communicate()
        workers = _workers_at_work(driver, small / "store")
    os.kill(workers[0], signal.SIGKILL)
    out, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    assert "3 trials: 3 measured" in out
    assert results(small / "store") == results(small / "undisturbed")
    assert sum(sampled(small).values()) <= 12 + 3  # at most the shards that were at hand when something was killed


@pytest.mark.slow
def test_a_trial_that_kills_its_worker_is_recorded_with_its_last_words(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sweeping.DARK, "die")
    grid = 'grid = { steps = [4], shade = ["dark", "plain"] }'
    (small / "small.toml").write_text(sweeping.SWEEP.replace("grid = { steps = [1, 2, 4] }", grid))
    driver = _started(small, "--images", "7")
    out, err = driver.communicate(timeout=240)
    assert driver.returncode == 1, err
    assert "2 trials: 1 measured, 0 already recorded, 1 failed" in out
    plain, dark = sorted(Store(small / "store").records(), key=lambda record: record["status"])
    assert plain["status"] == "done"
    assert dark["failure"]["reason"] == "3 workers were killed by signal 9 (SIGKILL) at this job"
    assert "a last word" in dark["failure"]["log"]
