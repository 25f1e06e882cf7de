"""docs/scaling.py: what it measures in a store, and what it simulates."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from harness.cluster.submitted import Submissions

PLACE = Path(__file__).parents[2] / "docs" / "scaling.py"


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scaling", PLACE)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules["scaling"] = found
    spec.loader.exec_module(found)
    return found


def fill(store: Path, shard_s: float) -> None:
    """A store in which one task has done five shards, its first 2 s after its own first line."""
    made = Submissions(store).new("generate", [[f"k:generate-{place}" for place in range(5)]], 0, "code")
    lines = [{"event": "start", "at": 100.0}]
    lines += [
        {"event": "done", "at": 102.0 + shard_s * (place + 1), "job": "k:x", "images": 7, "seconds": shard_s}
        for place in range(5)
    ]
    made.events_file(0).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_overhead_is_read_off_the_tasks_own_lines(scaling: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no task there has done two shards"):
        scaling.measured(tmp_path)
    fill(tmp_path, 0.25)
    assert scaling.measured(tmp_path) == (pytest.approx(2.0), pytest.approx(0.25), 4)


def test_tasks_hold_all_images_and_about_the_minutes_asked_for(scaling: ModuleType) -> None:
    tasks = scaling.tasks_of(50_000, 100, 250, 10.0, 10.0)
    assert sum(shards for shards, _ in tasks) == 100 * 200
    assert sum(seconds for _, seconds in tasks) == pytest.approx(100 * 50_000 / 10.0)
    assert max(seconds for _, seconds in tasks) <= 600


def test_one_gpu_takes_the_sum_and_its_shares_are_the_whole(scaling: ModuleType) -> None:
    tasks = [(4, 40.0)] * 6
    one = scaling.simulate(1, tasks, 5.0, 0.5, 3)
    whole = 6 * (5.0 + 4 * 0.5 + 40.0)
    assert (one.hours - one.after_hours) * 3600 == pytest.approx(whole)
    assert one.computing + one.starting + one.overhead + one.idle == pytest.approx(1.0)
    assert one.idle == pytest.approx(0.0)
    four = scaling.simulate(4, tasks, 5.0, 0.5, 3)
    assert (four.hours - four.after_hours) * 3600 == pytest.approx(2 * whole / 6)
    assert four.idle == pytest.approx(0.25)


def test_the_bottleneck_named_is_the_largest_loss(scaling: ModuleType) -> None:
    assert scaling.simulate(1, [(1, 100.0)], 5000.0, 0.0, 1).bottleneck == "starting tasks"
    assert scaling.simulate(1, [(1, 100.0)], 0.0, 5000.0, 1).bottleneck == "files of shards"
    assert scaling.simulate(9, [(1, 1e5)], 0.0, 0.0, 1).bottleneck == "GPUs idle at the end"
    assert scaling.simulate(1, [(1, 100.0)], 0.0, 0.0, 100).bottleneck == "merging and timing after the last shard"


def test_the_table_has_the_three_clusters(
    scaling: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, 0.25)
    monkeypatch.setattr(sys, "argv", ["scaling.py", "--store", str(tmp_path)])
    scaling.main()
    measured, *_, eight, sixty_four, many = capsys.readouterr().out.splitlines()
    assert measured == "measured: 2.00 s a task to its first job, 0.250 s a shard (medians, 4 shards)"
    assert [row.split(" | ")[0] for row in (eight, sixty_four, many)] == ["| 8", "| 64", "| 512"]
