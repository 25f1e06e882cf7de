"""However a trial is cut, and by whoever it is computed, its images and figures are the same: bundled methods at their
tuned guidance, real extractor."""

import io
import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import sweep
from harness.records.store import Record, Store
from harness.run.driver import Options, run
from tests.helpers import sweeping

IMAGES, FEW = 256, 32
"""Images a trial; fewer where a trial is cut into small shards, each of which computes 16 images at least."""
CONTENT = {
    "preset": "fmnist",
    "timing": {"warmup": 1, "min_rounds": 1, "max_rounds": 1, "least_seconds": 0.0, "throughput_batch": 1},
    "method": {
        "raster": {"sampling": {"cfg": 2.0}},
        "ear": {"sampling": {"cfg": 2.5}, "list": [{"steps": 7}]},
        "var": {"sampling": {"cfg": 5.0}},
        "actvar": {"sampling": {"cfg": 5.0}, "list": [{"ffn_sparsity": 0.5, "token_sparsity": 0.5}]},
    },
}
METHODS = {"raster", "ear", "var", "actvar"}

Measured = dict[str, tuple[Record, np.ndarray[Any, Any]]]
"""Record and fingerprints of each method's trial."""


def measured(folder: Path, images: int, **options: Any) -> Measured:
    """What a run leaves, by method."""
    store = Store(folder)
    run(sweep.parse({**CONTENT, "images": images}, "invariance"), store, Options(**options), io.StringIO())
    return {one["trial"]["method"]: (one, store.arrays(one)["fingerprints"]) for one in store.records()}


Whole = Callable[[int], tuple[Path, Measured]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Trials of so many images in one shard each: the store and what was measured, once a module."""

    @cache
    def made(images: int) -> tuple[Path, Measured]:
        folder = tmp_path_factory.mktemp(f"whole-{images}")
        return folder, measured(folder, images, workers=0, batch=images)

    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "options"),
    [
        (FEW, {"workers": 2, "batch": 1}),
        (FEW, {"workers": 0, "batch": 7}),
        (IMAGES, {"workers": 1, "batch": 64}),
        (IMAGES, {"workers": 0, "batch": 250}),
        (FEW, {"workers": 2, "batch": 11}),  # three shards
        (FEW, {"workers": 2, "batch": 4}),  # eight
    ],
    ids=str,
)
def test_batches_shards_and_workers_move_nothing(
    whole: Whole, tmp_path: Path, images: int, options: dict[str, int]
) -> None:
    folder, before = whole(images)
    shutil.copytree(folder / "references", tmp_path / "references")
    unmoved(before, measured(tmp_path, images, **options))


@pytest.mark.slow
def test_neither_does_a_kill_in_between(whole: Whole, tmp_path: Path) -> None:
    folder, before = whole(FEW)
    shutil.copytree(folder / "references", tmp_path / "references")
    child = sweeping.fork(lambda: len(measured(tmp_path, FEW, workers=0, batch=7)))
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("work/*/shards/0*.npz"))) < 2:  # of five; a finished trial's shards are merged
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    assert sweeping.exit_code(child) == -signal.SIGKILL
    assert Store(tmp_path).records() == []
    unmoved(before, measured(tmp_path, FEW, workers=0, batch=7))


def unmoved(before: Measured, after: Measured) -> None:
    """The same tokens for 99.9 % of all images, FID and IS within 0.1 %."""
    assert after.keys() == before.keys() == METHODS
    same = np.concatenate([before[method][1] == after[method][1] for method in METHODS])
    assert len(same) == sum(record["generate"]["images"] for record, _ in before.values())
    assert same.mean() >= 0.999
    for method, (record, _) in before.items():
        again, _ = after[method]
        assert again["key"] == record["key"]
        for ours, theirs in (
            (again["quality"]["fid"]["fmnist-cnn"], record["quality"]["fid"]["fmnist-cnn"]),
            (again["quality"]["is"], record["quality"]["is"]),
        ):
            assert ours == pytest.approx(theirs, rel=1e-3)
