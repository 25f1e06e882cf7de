"""A package of somebody else's adds a scheduler: one module, one entry point."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

QUEUE = """
import subprocess, sys
from harness.cluster.schedulers import End, Inside, Queued

class Batch:
    name = "batch"
    defaults = {"poll-seconds": 1, "visibility-seconds": 1}
    stays = True

    def check(self, sites, stages):
        pass

    def most_tasks(self):
        return 2

    def submit(self, made, how, code, work, after):
        for index, task in enumerate(work):  # a scheduler that does each task at once, and forgets it
            print(f"batch: task {index} of {how.in_words()}", file=sys.stderr, flush=True)
            task()
        return made.id

    def queue(self, submissions):
        return {}

    def ends(self, tasks):
        return {}

    def cancel(self, numbers):
        pass

    def throttle(self, made, parallel):
        pass

    def inside(self):
        return Inside(threads=1, facts={"batch": "yes"})
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the package, as pip would leave it."""
    (tmp_path / "queueing.py").write_text(QUEUE)
    (tmp_path / "queueing-1.dist-info").mkdir()
    (tmp_path / "queueing-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: queueing\nVersion: 1\n")
    (tmp_path / "queueing-1.dist-info" / "entry_points.txt").write_text("[arbench.executors]\nbatch = queueing:Batch\n")
    return tmp_path


@pytest.mark.slow
def test_a_sweep_runs_through_a_strangers_scheduler_with_nothing_changed_here(installed: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    asked = ["arbench", "run", "smoke", "--only", "var", "--images", "8", "--store", "store", "--cluster", "batch"]
    done = subprocess.run(
        [sys.executable, "-m", *asked], cwd=installed, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 trial: 1 measured, 0 already recorded, 0 failed; store: store"
    assert "batch: task 0 of exclusive=True time=1:00:00" in done.stderr  # timing is alone, unless the site says else
    events = "".join(path.read_text() for path in installed.glob("store/cluster/*/task-*.jsonl"))
    assert events.count('"batch": "yes"') == events.count('"event": "end"') >= 3
