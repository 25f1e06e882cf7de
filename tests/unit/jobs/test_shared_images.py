"""Trials that a method declares the same share their images: made once, recorded for each."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness import cli, sweep
from harness.errors import ArbenchError
from harness.jobs.assembly import assemble
from harness.jobs.bench import Bench
from harness.jobs.plan import Instrument, plan
from harness.method import KnobValue
from harness.records.store import Record, Store
from harness.run import driver
from harness.stages.timing.protocol import protocol
from harness.trial import Trial
from tests.helpers import sweeping

SHARDS = 4


def without_warmth(
    cls: type[sweeping.SweepMethod], knobs: Mapping[str, KnobValue], preset: str
) -> tuple[str, dict[str, KnobValue]] | None:
    """Warmth does nothing: at any, the trial is that of warmth 0."""
    return ("fake", {**knobs, "warmth": 0.0}) if knobs["warmth"] else None


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A sweep of three trials that are one computation, which the sweep itself does not have."""
    with sweeping.in_place() as patch:
        patch.setenv(sweeping.WEIGHTS, str(sweeping.make_weights(tmp_path / "fake.safetensors")))
        patch.setenv(sweeping.LOG, str(tmp_path / "sampled.log"))
        patch.setattr(sweeping.SweepMethod, "same_as", classmethod(without_warmth), raising=False)
        grid = "grid = { steps = [2], warmth = [0.25, 0.5, 0.75] }"
        (tmp_path / "small.toml").write_text(sweeping.SWEEP.replace("grid = { steps = [1, 2, 4] }", grid))
        yield tmp_path


def command(folder: Path, *more: str, store: str = "store") -> list[str]:
    places = [str(folder / "small.toml"), "--store", str(folder / store)]
    return ["run", *places, "--batch", str(sweeping.BATCH), "--workers", "0", *more]


def shards(folder: Path) -> Counter[str]:
    """Shards that were sampled, each with how often."""
    log = folder / "sampled.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(line for line in lines if line.startswith(f"{sweeping.COMPUTED} "))


def records(folder: Path) -> list[Record]:
    return Store(folder / "store").records()


def whole(found: list[Record]) -> None:
    """Three records of their own, with the images of one."""
    assert len(found) == len({record["name"] for record in found}) == len({record["key"] for record in found}) == 3
    assert all(record["status"] == "done" for record in found)
    assert all(record["quality"] == found[0]["quality"] for record in found)
    (twin,) = {record["provenance"]["images_of"]["name"] for record in found}
    assert "warmth" not in twin  # which is 0 there, its default
    assert all(record["timing"]["latency"]["samples"] for record in found)


def test_images_of_equal_trials_are_made_once_and_each_has_a_record_that_says_so(small: Path) -> None:
    assert cli.main(command(small)) == 0
    assert shards(small).total() == SHARDS
    whole(records(small))
    samples = [record["timing"]["latency"]["samples"] for record in records(small)]
    assert len({str(one) for one in samples}) == 3  # each is timed: a declared equality hides no overhead


def test_a_trial_that_shares_has_the_key_it_has_alone(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = (("tiny", None),)
    references = {"tiny": Bench(named, small / "references").references("tiny")}
    instrument = Instrument(named, references, protocol({}, "test"))
    trial = Trial.of("fake", "tiny", {"steps": 2, "warmth": 0.5}, images=28)
    shared = plan(trial, instrument, Store(small))
    monkeypatch.setattr(sweeping.SweepMethod, "same_as", classmethod(lambda cls, knobs, preset: None))
    alone = plan(trial, instrument, Store(small))
    assert shared.twin is not None and alone.twin is None
    assert shared.key == alone.key


def test_on_weights_that_differ_nothing_is_shared(small: Path) -> None:
    own = sweeping.make_weights(small / "mine.safetensors")
    assert cli.main(command(small, "--checkpoint", f"fake={own}")) == 0
    assert shards(small).total() == 3 * SHARDS


def test_an_interrupted_run_goes_on_with_what_is_shared(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = 0
    real = Bench.do

    def do(self: Bench, job: Any) -> None:
        nonlocal done
        if done == 2:
            raise KeyboardInterrupt
        done += 1
        real(self, job)

    with monkeypatch.context() as patch:
        patch.setattr(Bench, "do", do)
        assert cli.main(command(small)) == 130
    assert cli.main(command(small)) == 0
    assert shards(small).total() == SHARDS
    whole(records(small))


def test_two_runs_at_once_leave_what_one_leaves(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sweeping.SLEEP, "0.02")
    children = [sweeping.fork(lambda: cli.main(command(small))) for _ in range(2)]
    assert [sweeping.exit_code(child) for child in children] == [0, 0]
    whole(records(small))
    assert not list((small / "store").rglob("shards"))


def test_what_fails_in_the_shared_images_fails_for_all_of_them(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (small / "small.toml").read_text().replace("warmth = [", 'shade = ["dark"], warmth = [')
    (small / "small.toml").write_text(text)
    monkeypatch.setenv(sweeping.DARK, "raise")
    assert cli.main(command(small)) == 1
    assert [record["failure"]["reason"] for record in records(small)] == ["RuntimeError: too dark to see"] * 3
    monkeypatch.delenv(sweeping.DARK)
    assert cli.main(command(small, "--retry-failed")) == 0
    assert [record["status"] for record in records(small)] == ["done"] * 3


def test_status_counts_shared_shards_for_each_trial(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command(small, "--no-timing")) == 0
    capsys.readouterr()
    assert cli.main(["status", str(small / "store")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("3 trials: 0 recorded, 3 open, 0 failed")
    assert said.count("4 of 4 shards; done: generate, quality, flops") == 3


class Elsewhere:
    """A cluster to which nothing is submitted."""

    def check(self, tables: object, wait: bool) -> None: ...

    def executor(self, *given: object) -> NoReturn:
        raise AssertionError("nothing is submitted")


def test_a_trial_has_its_own_tables_though_another_shares_its_images(small: Path) -> None:
    blocks = [
        {"knobs": {"steps": 2, "warmth": warmth}, "cluster": {"memory": memory}}
        for warmth, memory in ((0.0, "1G"), (0.5, "2G"))
    ]
    asked = sweep.parse({"preset": "tiny", "images": 28, "method": {"fake": blocks}}, "two")
    run = driver.prepared(asked, Store(small / "store"), driver.Options(cluster=Elsewhere()))
    one, other = run._plans
    assert other.maker.key == one.key
    assert [run._tables[key][1] for key in (one.key, other.key)] == [{"memory": "1G"}, {"memory": "2G"}]


def test_a_record_says_what_made_its_images_whatever_the_run_was_asked_for(small: Path) -> None:
    """A store whose images were made on a CPU is finished by a run on a GPU."""
    asked = sweep.parse({"preset": "tiny", "images": 28, "method": {"fake": [{"knobs": {"steps": 2}}]}}, "one")
    store = Store(small / "store")
    driver.run(asked, store, driver.Options(workers=0, timing=False))
    (record,) = store.records()
    assert record["generate"]["device"] == "cpu"
    assert not [flag for flag in record["quality"]["flags"] if "images were made on" in flag]
    run = driver.prepared(asked, store, driver.Options())
    about = {**record["provenance"], "device": "cuda:1"}
    found, _ = assemble(run._plans[0], run._instrument, about)
    assert (found["generate"]["device"], found["provenance"]["device"]) == ("cpu", "cuda:1")
    assert "images were made on cpu, and this run was on cuda:1" in found["quality"]["flags"]


def test_the_machine_that_submits_a_compiled_sweep_needs_no_compiler(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"preset": "tiny", "images": 28, "method": {"fake": [{"knobs": {"steps": 2}}]}}
    asked = sweep.parse({**given, "timing": {"capture": "compile"}}, "one")
    monkeypatch.setattr("shutil.which", lambda name: None)
    driver.prepared(asked, Store(small / "store"), driver.Options(cluster=Elsewhere()))
    with pytest.raises(ArbenchError, match="needs a C.. compiler on a CPU"):
        driver.prepared(asked, Store(small / "store"), driver.Options())
