"""A figure is declared once: added to the table (and computed), it is wherever figures are."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.records.store import Store
from harness.stages.figures import FIGURES, scores
from harness.stages.quality.resampling import interval
from tests.helpers import submitting
from tests.helpers.submitting import measured, members, packed, setting
from tests.unit.reports.test_reports import data

ADDED = """
import sys
import pytest
from harness.stages import figures
figures.FIGURES += (figures._score("sharpness", "Sharpness", "how sharp", "high", valid=(0, 1), places=3),)
from tests.helpers import sweeping
sweeping.install(pytest.MonkeyPatch())
"""
"""What declares the figure, before anything else is imported that reads figures."""
CLAIM = """
paper = "A paper"
link = "https://example.org/paper"
[[claims]]
id = "sharper"
statement = "It is sharper."
source = "abstract"
scale = "fmnist"
expression = "one.sharpness >= 0.5"
[claims.trials]
one = { method = "ear", preset = "fmnist", knobs = { steps = 13 } }
"""
COMMAND = "from harness.cli import main\nfrom importlib.metadata import entry_points\nfrom harness.cli import command\n"
COMMAND += "command.entry_points = entry_points\nsys.exit(main(sys.argv[1:]))"


def python(program: str, *arguments: str | Path, code: int = 0) -> str:
    """What a program prints, on both streams, that runs with the figure in the table."""
    line = [sys.executable, "-c", ADDED + program, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of three trials that have the figure, with an interval and replicates."""
    folder = tmp_path_factory.mktemp("figures")
    with measured(folder) as store:
        for place, record in enumerate(store.records()):
            arrays = dict(store.arrays(record))
            drawn = np.random.default_rng(place).normal(0.25 + 0.1 * place, 0.01, 1000).astype(np.float32)
            value = float(drawn.mean(dtype=float))
            record["quality"]["sharpness"] = value
            record["quality"]["intervals"]["sharpness"] = interval(value, drawn.astype(float))
            store.write(record, {**arrays, "replicates sharpness": drawn})
    return store.folder


def test_names_and_places_of_figures_are_unique() -> None:
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)
    paths = [figure.path for figure in FIGURES if figure.path]
    assert len(set(paths)) == len(paths)
    assert all(figure.valid for figure in scores())


@pytest.mark.parametrize(
    ("throughput", "value", "ends"),
    [
        ({"joules_per_image": 2.5, "joules_per_image_interval": [2.4, 2.6]}, 2.5, (2.4, 2.6)),
        ({"joules_per_image": None, "joules_per_image_interval": None}, None, None),
        ({"joules_per_image": 2.5}, 2.5, None),  # an older record
        ({"joules_per_image": 0.0}, None, None),  # an older record of generations shorter than the counter's step
        ({}, None, None),
    ],
)
def test_energy_is_a_figure_and_never_0(throughput: dict[str, Any], value: Any, ends: Any) -> None:
    (figure,) = [one for one in FIGURES if one.name == "joules"]
    record = {"timing": {"throughput": throughput}}
    assert (figure.value(record, ""), figure.ends(record, "")) == (value, ends)
    assert (figure.better, figure.unit) == ("low", "(J)")


def test_an_added_figure_is_compared(store: Path) -> None:
    names = sorted(record["name"] for record in Store(store).records())
    shown = python(COMMAND, "compare", names[0], names[-1], "--store", store)
    assert re.search(r"^sharpness +0\.\d+ +0\.\d+ .*(is better|undecided)$", shown, re.MULTILINE)


def test_an_added_figure_is_on_the_leaderboard_and_an_axis_of_the_explorer(store: Path, tmp_path: Path) -> None:
    python(COMMAND, "report", "--store", store, "--out", tmp_path / "site")
    told = data(tmp_path / "site", "leaderboard")  # which the explorer takes its axes from
    (shown,) = [measure for measure in told["measures"] if measure["name"] == "sharpness"]
    assert (shown["title"], shown["better"], shown["places"]) == ("Sharpness", "high", 3)
    values, lows, highs = data(tmp_path / "site", "leaderboard-more")["sharpness"]
    found = [row for row in zip(lows, values, highs, strict=True) if row[1] is not None]
    assert len(found) == 3
    assert all(low < value < high for low, value, high in found)
    assert "sharpness" in (tmp_path / "site" / "trials.csv").read_text().splitlines()[0]


def test_an_added_figure_is_checked_before_it_travels_and_on_import(store: Path, tmp_path: Path) -> None:
    copied = Store(shutil.copytree(store, tmp_path / "store"))
    rows = tmp_path / "rows"
    name = min(record["name"] for record in copied.records())
    python(COMMAND, "submit", name, "--store", copied.folder, "--out", rows, "--by", "A")
    forged = packed(tmp_path, submitting.forged(members(rows), setting("quality", "sharpness", to=7.0)))
    said = python(COMMAND, "import", forged, "--store", tmp_path / "theirs", code=2)
    assert "sharpness = 7.0 (possible: 0 to 1)" in said


def test_an_added_figure_is_scored(tmp_path: Path) -> None:
    program = """
from harness.stages.quality.score import in_words
sides = {"samples": {"images": 9, "path": "a"}, "reference": {"path": "b"}}
print(in_words({"sharpness": 0.5, "intervals": {"sharpness": [0.4, 0.6]}, "flags": [], **sides}))
"""
    assert re.search(r"^Sharpness +0\.5 +95 %: 0\.4 to 0\.6$", python(program), re.MULTILINE)


def test_an_added_figure_is_an_operand_of_claims(tmp_path: Path) -> None:
    (tmp_path / "claims.toml").write_text(CLAIM)
    program = """
from pathlib import Path
from reports.claims.claim import load
(claim,) = load([Path(sys.argv[1])])
print(claim.scored)
"""
    assert python(program, tmp_path / "claims.toml") == "True\n"
