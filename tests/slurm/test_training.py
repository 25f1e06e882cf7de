"""Training of ActVAR in two processes of a real Slurm's job."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cli
from harness.cluster.submitted import Submissions
from tests.helpers import sweeping
from tests.helpers.places import PATIENCE_S, until
from tests.helpers.tiny_training import STEPS, command, make_pictures, offer_tiny_presets, together, weights
from tests.slurm.conftest import Slurm
from tests.slurm.training_job import SLEEP

SITE = f"""
python = "{sys.executable} -m tests.slurm.training_job"
cpus = 1
time = "20"
poll-seconds = 1
visibility-seconds = 2
setup = ["export OMP_NUM_THREADS=1"]
[train]
ntasks-per-node = 2
"""


@pytest.fixture
def folder(cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with pictures, a site file, and a trained teacher."""
    make_pictures(tmp_path / "data")
    (tmp_path / "site.toml").write_text(SITE)
    monkeypatch.setenv("ARBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    offer_tiny_presets(monkeypatch)
    assert together(1, command(tmp_path, "teacher")) == [0]
    yield tmp_path
    cluster.empty()


def student(folder: Path, name: str, *more: str) -> list[str]:
    teacher = ["--teacher", str(weights(folder, "teacher")), "--precision", "fp32"]
    return command(folder, name, *teacher, *more, method="actvar")


def log(folder: Path, name: str) -> list[float]:
    path = folder / name / "actvar-tiny" / "log.jsonl"
    return [json.loads(line)["loss"] for line in path.read_text().splitlines()] if path.exists() else []


def test_actvar_trains_in_two_processes_goes_on_after_a_requeue_and_loses_what_two_processes_here_lose(
    folder: Path, cluster: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert together(2, student(folder, "here")) == [0, 0]
    on_cluster = ["--cluster", "slurm", "--site", str(folder / "site.toml")]
    monkeypatch.setenv(SLEEP, "1")
    driver = sweeping.fork(lambda: cli.main(student(folder, "job", *on_cluster)))
    until(lambda: len(log(folder, "job")) >= STEPS // 3, PATIENCE_S)
    (job,) = cluster.running()
    cluster.call("scontrol", "requeue", job)
    assert sweeping.exit_code(driver) == 0
    (made,) = Submissions(folder / "job").all()
    starts = [event for event in made.events(0) if event["event"] == "start"]
    assert [start["processes"] for start in starts] == [2, 2]
    assert "resumed at step" in made.log(0)
    assert log(folder, "job") == pytest.approx(log(folder, "here"), abs=1e-4)
    assert len(log(folder, "job")) == STEPS
    assert weights(folder, "job").exists()


def test_a_training_that_fails_is_tried_again_and_then_told_in_one_line(
    folder: Path, cluster: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = student(folder, "job", "--cluster", "slurm", "--site", str(folder / "site.toml"), "--retries", "1")
    asked[asked.index("--batch") + 1] = "9"
    assert cli.main(asked) == 2
    *_, said = capsys.readouterr().err.splitlines()
    assert said.startswith("arbench: training actvar-tiny failed: FAILED")
    assert "a batch of 9 cannot be cut evenly into 1 parts in each of 2 processes" in said
    assert len(Submissions(folder / "job").all()) == 2
