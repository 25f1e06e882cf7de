"""docs/add-a-method.md is followed to the letter, in an environment of its own, with few images."""

import csv
from pathlib import Path

from harness.records.store import Store
from tests.docs.pages import ROOT, commands, ran

PAGE = ROOT / "docs" / "add-a-method.md"
IMAGES = 60
QUICK = "\n[timing]\nwarmup = 1\nmin_rounds = 2\nmax_rounds = 2\nleast_seconds = 0.0\n"


def test_the_page_leads_from_nothing_to_a_row_on_the_leaderboard(programs: Path, tmp_path: Path) -> None:
    said = {}
    for command in commands(PAGE):
        assert command[0] in ("arbench", "python3")
        if command[:2] == ["arbench", "run"]:  # the only liberty taken: fewer images, rounds of timing and processes
            sweep = tmp_path / command[2]
            sweep.write_text(sweep.read_text().replace("\n[method.raster]", f"{QUICK}\n[method.raster]"))
            command = [*command, "--images", str(IMAGES)]
        if command[1] in ("run", "verify"):
            command = [*command, "--workers", "0"]
        said[" ".join(command[:2])] = ran(command, programs, tmp_path)
    assert "cooled" in said["arbench list"]
    assert "cooled conform" in said["arbench check"]
    assert {"cooled", "raster"} <= set(methods(tmp_path / "site" / "leaderboard.csv"))
    assert "4 records added" in said["arbench import"]
    marks = [record["submission"]["verified"] for record in Store(tmp_path / "theirs").records()]
    assert len(marks) == 4
    assert all(marks)


def methods(leaderboard: Path) -> list[str]:
    """The methods of a leaderboard, in its order."""
    with leaderboard.open(newline="") as file:
        return [row["method"] for row in csv.DictReader(file)]
