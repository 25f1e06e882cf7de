"""What `nox -s reproduce` does, small: few trials, few images, the whole path from bundled weights to pages."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


COMMAND = str(Path(sys.executable).with_name("arbench"))


def arbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves; first-looks/ has the first page of its report as it was while the run went on."""
    made = tmp_path_factory.mktemp("reproduce")
    looks, page = made / "first-looks", made / "site" / "index.html"
    looks.mkdir()
    places = ["--store", str(made / "store"), "--report", str(made / "site")]
    with (made / "said.txt").open("w") as said:
        sweep = ["run", "harness/sweeps/smoke.toml", *places, "--workers", "2"]
        running = subprocess.Popen([COMMAND, *sweep], cwd=ROOT, stdout=said, stderr=said)
        while running.poll() is None:
            if page.exists():
                (looks / f"{page.stat().st_mtime_ns}.html").write_text(page.read_text())
            time.sleep(0.2)
    assert running.returncode == 0, (made / "said.txt").read_text()
    return made


def records(folder: Path) -> list[dict[str, Any]]:
    paths = (folder / "store" / "records").glob("*.json")
    return sorted((json.loads(path.read_text()) for path in paths), key=lambda record: str(record["name"]))


def test_every_trial_of_the_sweep_is_recorded_whole(folder: Path) -> None:
    found = records(folder)
    assert [record["name"].partition("[")[0] for record in found] == ["actvar", "ear", "ear", "raster", "var"]
    for record in found:
        assert record["status"] == "done"
        assert all(record[stage] for stage in ("generate", "quality", "flops", "timing", "parameters", "provenance"))


def test_a_first_look_says_what_is_open_and_the_last_page_does_not(folder: Path) -> None:
    looks = [path.read_text() for path in sorted((folder / "first-looks").glob("*.html"))]
    assert len([text for text in looks if "timing is still to come" in text]) >= 1
    assert all("of 5 trials measured" in text for text in looks[:-1])
    last = (folder / "site" / "index.html").read_text()
    assert "still to come" not in last and "trials measured" not in last
    assert not list((folder / "site").glob(".*"))


def test_the_page_shows_every_trial_and_every_figure_it_names(folder: Path) -> None:
    site = folder / "site"
    assert "data/leaderboard.js" in (site / "index.html").read_text()
    rows = (site / "data" / "leaderboard.js").read_text()
    assert "FID (fmnist-cnn)" in rows
    for record in records(folder):
        key = str(record["key"])[:12]
        assert key in rows
        assert str(record["name"]) in (site / "data" / f"trial-{key}.js").read_text()
    assert list(site.rglob("*.svg"))
    assert list(site.rglob("*.png"))


def test_a_second_run_computes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "store" / "records").glob("*.json")}
    started = time.monotonic()
    done = arbench("run", "harness/sweeps/smoke.toml", "--store", str(folder / "store"))
    assert done.returncode == 0, done.stderr
    assert "5 already recorded" in done.stderr + done.stdout
    assert time.monotonic() - started < 90
    assert {path: path.stat().st_mtime_ns for path in (folder / "store" / "records").glob("*.json")} == before
