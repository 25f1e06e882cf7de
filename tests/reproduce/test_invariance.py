"""However a trial is cut, and by whoever it is computed, its images are the same, bit for bit: every bundled method,
fp32 and bf16. Its scores are the same up to the order in which threads add."""

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
from harness.records.store import REPLICATES, Record, Store
from harness.run.driver import Options, run
from harness.stages.figures import flat
from tests.helpers import sweeping

IMAGES, COMPUTE_BATCH = 24, 3
SPARSE = {"list": [{"ffn_sparsity": 0.5, "token_sparsity": 0.5}]}
CONTENT = {
    "preset": "fmnist",
    "images": IMAGES,
    "setup": {"precision": ["fp32", "bf16"], "compute_batch": COMPUTE_BATCH},
    "method": {
        "raster": {},
        "ear": [{"list": [{"steps": 7}]}, {"list": [{"steps": 49, "adaptive": 20.0}]}],
        "raster-blocks": {"list": [{"steps": 7}]},
        "random-order": {"list": [{"steps": 7}]},
        "var": {},
        "actvar": SPARSE,
        "var-static": SPARSE,
        "actvar-random": SPARSE,
    },
}
METHODS = {"raster", "ear", "raster-blocks", "random-order", "var", "actvar", "var-static", "actvar-random"}

Measured = dict[str, tuple[Record, dict[str, np.ndarray[Any, Any]]]]
"""Record and arrays of each trial, by name."""


def measured(folder: Path, **options: Any) -> Measured:
    """What a run leaves, by trial."""
    store = Store(folder)
    run(sweep.parse(CONTENT, "invariance"), store, Options(timing=False, **options), io.StringIO())
    return {one["name"]: (one, store.arrays(one)) for one in store.records()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Measured]:
    """Trials of one shard each: the store and what was measured, once a module."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, measured(folder, workers=0, batch=IMAGES)


@pytest.mark.slow
def test_every_bundled_method_is_measured_in_both_precisions(whole: tuple[Path, Measured]) -> None:
    trials = [record["trial"] for record, _ in whole[1].values()]
    assert {(one["method"], one["setup"]["precision"]) for one in trials} == {
        (method, precision) for method in METHODS for precision in ("fp32", "bf16")
    }


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"workers": 2, "batch": 8}, {"workers": 0, "batch": 1}], ids=str)
def test_batches_shards_and_workers_move_nothing(
    whole: tuple[Path, Measured], tmp_path: Path, options: dict[str, int]
) -> None:
    """Three shards in two processes, and eight shards."""
    folder, before = whole
    shutil.copytree(folder / "references", tmp_path / "references")
    unmoved(before, measured(tmp_path, **options))


@pytest.mark.slow
def test_neither_does_a_kill_in_between(whole: tuple[Path, Measured], tmp_path: Path) -> None:
    folder, before = whole
    shutil.copytree(folder / "references", tmp_path / "references")
    child = sweeping.fork(lambda: len(measured(tmp_path, workers=0, batch=1)))
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("work/*/shards/0*.npz"))) < 2:  # of eight; a finished trial's shards are merged
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    assert sweeping.exit_code(child) == -signal.SIGKILL
    assert len(Store(tmp_path).records()) < len(before)
    unmoved(before, measured(tmp_path, workers=0, batch=8))


def unmoved(before: Measured, after: Measured) -> None:
    """The same keys; the same tokens, first images, labels and steps, bit for bit; the same scores."""
    assert after.keys() == before.keys()
    for name, (record, arrays) in before.items():
        again, found = after[name]
        assert again["key"] == record["key"]
        assert len(arrays["fingerprints"]) == IMAGES
        assert found.keys() == arrays.keys()
        for part, rows in arrays.items():
            if part.startswith(REPLICATES):
                np.testing.assert_allclose(found[part], rows, rtol=1e-5, err_msg=f"{name}: {part}")
            else:
                np.testing.assert_array_equal(found[part], rows, f"{name}: {part}")
        ours, theirs = scored(again), scored(record)
        assert {"fid.fmnist-cnn", "is", "kid"} <= theirs.keys()
        assert ours == pytest.approx(theirs, rel=1e-6), name


def scored(record: Record) -> dict[str, float]:
    """The scores of a record. Their intervals follow from replicates."""
    return {name: value for name, value in flat(record["quality"]).items() if isinstance(value, float)}
