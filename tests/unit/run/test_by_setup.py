"""Runs of another setup: random weights, another precision."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness import cli
from harness.records.store import Store
from harness.stages.quality import stage as quality
from harness.stages.quality.resampling import Resampling
from reports.build import build
from tests.helpers import sweeping
from tests.unit.reports.test_reports import board


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder with the small sweep in it, the fake method in the real ones' place."""
    with sweeping.in_folder(tmp_path):
        yield tmp_path


def command(folder: Path, *more: str) -> list[str]:
    return ["run", str(folder / "small.toml"), "--store", str(folder / "store"), "--workers", "0", *more]


def record_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "records").iterdir()}


def test_random_weights_are_timed_and_counted_and_never_scored(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sweeping.WEIGHTS, str(small / "nowhere.safetensors"))
    monkeypatch.setattr("harness.jobs.bench.reference_images", lambda name: pytest.fail("a reference was opened"))
    assert cli.main(command(small, "--random-weights")) == 0
    store = Store(small / "store")
    assert not list((small / "store").glob("work/*/generated.npz"))
    for record in store.records():
        assert record["name"].endswith("weights=random,seed=0]")
        assert record["trial"]["setup"]["weights"] == "random"
        assert record["quality"] is None
        assert record["generate"] is None
        assert record["flops"]["macs"] > 0
        assert record["timing"]["latency"]["total_s"] > 0
        assert record["provenance"]["weights"] == {}
        assert store.arrays(record) == {}
    assert len(store.records()) == 3
    assert cli.main(command(small, "--random-weights")) == 0


def test_rows_on_random_weights_stand_beside_real_ones_and_replace_none(small: Path) -> None:
    assert cli.main(command(small)) == 0
    before = record_bytes(small / "store")
    assert cli.main(command(small, "--random-weights")) == 0
    after = record_bytes(small / "store")
    assert before.items() <= after.items()
    assert len(Store(small / "store").records()) == 6
    page = build(small / "store", small / "site").read_text()
    assert "3 of 6 trials ran on random weights" in page
    rows = [row for row in board(small / "site") if row["source"] != "published"]
    assert [row["random"] for row in rows].count(True) == 3 and len(rows) == 3 + 3
    assert not any(row["best"] for row in rows if row["random"])
    assert (small / "site" / "leaderboard.csv").read_text().count("fake[") == 1


def test_labels_that_are_drawn_are_resampled_as_drawn(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []

    class Listening(Resampling):
        def __init__(self, labels: NDArray[np.integer[Any]]) -> None:
            given.append(len(np.unique(labels)))
            super().__init__(labels)

    monkeypatch.setattr(quality, "Resampling", Listening)
    assert cli.main(command(small)) == 0
    assert given == [2, 2, 2]
    (small / "small.toml").write_text(sweeping.SWEEP + '[setup]\nlabels = "random"\n')
    assert cli.main(command(small)) == 0
    assert given[3:] == [1, 1, 1]
    store = Store(small / "store")
    labels = [store.arrays(one)["labels"] for one in store.records() if one["trial"]["setup"]["labels"] == "random"]
    assert len(labels) == 3 and len(set(labels[0])) == 2


def test_precision_is_a_setting_of_the_trial(small: Path) -> None:
    assert cli.main(command(small)) == 0
    assert cli.main(command(small, "--precision", "bf16")) == 0
    found = {
        (r["trial"]["setup"]["precision"], r["trial"]["knobs"]["steps"]): r for r in Store(small / "store").records()
    }
    assert len(found) == 6
    for steps in (1, 2, 4):
        exact, rounded = found["fp32", steps], found["bf16", steps]
        assert exact["key"] != rounded["key"]
        assert rounded["name"].endswith("precision=bf16,seed=0]")
        assert rounded["quality"]["fid"]["tiny"] > 0
        assert rounded["flops"]["macs"] == exact["flops"]["macs"]
