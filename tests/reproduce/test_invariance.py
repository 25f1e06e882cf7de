"""However a trial is cut, and by whoever it is computed, its images and figures are the same: bundled methods, real
extractor, few images."""

import io
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import sweep
from harness.runner import Options, run
from harness.store import Record, Store
from tests import sweeping

IMAGES = 160
CONTENT = {
    "preset": "fmnist",
    "images": IMAGES,
    "timing": {"warmup": 1, "min_rounds": 1, "max_rounds": 1, "least_seconds": 0.0, "throughput_batch": 1},
    "method": {"var": {}, "ear": {"list": [{"steps": 7}]}},
}


def measured(folder: Path, **options: Any) -> dict[str, tuple[Record, np.ndarray[Any, Any]]]:
    """Records and features of both trials, by method."""
    store = Store(folder)
    run(sweep.parse(CONTENT, "invariance"), store, Options(**options), io.StringIO())
    found = {}
    for record in store.records():
        (generated,) = [
            path
            for path in folder.glob("work/*/generated.npz")
            if _same_steps(path, store.arrays(record)["thumbnails"])
        ]
        found[record["trial"]["method"]] = (record, np.load(generated)["features"])
    return found


def _same_steps(generated: Path, thumbnails: np.ndarray[Any, Any]) -> bool:
    return np.array_equal(np.load(generated)["thumbnails"], thumbnails)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[Record, np.ndarray[Any, Any]]]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, measured(folder, workers=0, batch=250)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0, "batch": 1},
        {"workers": 0, "batch": 7},
        {"workers": 1, "batch": 64},
        {"workers": 2, "batch": 54},  # three shards
        {"workers": 2, "batch": 20},  # eight
    ],
    ids=str,
)
def test_batches_shards_and_workers_move_nothing(whole: Any, tmp_path: Path, options: dict[str, int]) -> None:
    shutil.copytree(whole[0] / "references", tmp_path / "references")
    unmoved(whole[1], measured(tmp_path, **options))


@pytest.mark.slow
def test_neither_does_a_kill_in_between(whole: Any, tmp_path: Path) -> None:
    shutil.copytree(whole[0] / "references", tmp_path / "references")
    child = sweeping.fork(lambda: len(measured(tmp_path, workers=0, batch=7)))
    while len(list(tmp_path.glob("work/*/shards/0*.npz"))) < 5:
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    assert sweeping.exit_code(child) == -signal.SIGKILL
    unmoved(whole[1], measured(tmp_path, workers=0, batch=7))


def unmoved(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert after.keys() == before.keys() == {"var", "ear"}
    for method, (record, features) in before.items():
        again, seen = after[method]
        assert again["key"] == record["key"]
        same = np.isclose(seen, features, rtol=1e-3, atol=1e-3 * features.std()).all(axis=1)
        assert same.mean() >= 0.999
        for name in ("fid", "is"):
            ours, theirs = (found["quality"][name] for found in (again, record))
            assert ours == pytest.approx(theirs, rel=1e-3)
