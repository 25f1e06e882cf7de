"""docs/add-a-method.md is followed to the letter, in an environment of its own, with few images."""

import csv
import re
import shlex
import site
import subprocess
import sys
from pathlib import Path

import pytest

from harness.store import Store

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "add-a-method.md"
IMAGES = 60
QUICK = "\n[timing]\nwarmup = 1\nmin_rounds = 2\nmax_rounds = 2\nleast_seconds = 0.0\n"


def commands(page: Path) -> list[list[str]]:
    """The commands of a page: its indented lines."""
    return [shlex.split(line) for line in re.findall(r"^    (\S.*)$", page.read_text(), re.MULTILINE)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment that sees this checkout and what it needs, as if arbench were installed in
    it: what the page installs goes there and nowhere else."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (own,) = (folder / "lib").glob("python*/site-packages")
    (own / "arbench-checkout.pth").write_text("\n".join([str(ROOT), *site.getsitepackages()]))
    command = folder / "bin" / "arbench"
    command.write_text(f"#!{folder}/bin/python\nimport sys\nfrom harness.cli import main\nsys.exit(main())\n")
    command.chmod(0o755)
    return folder / "bin"


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
        done = subprocess.run(
            [str(programs / command[0]), *command[1:]],
            cwd=tmp_path,
            env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
        said[" ".join(command[:2])] = done.stdout
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
