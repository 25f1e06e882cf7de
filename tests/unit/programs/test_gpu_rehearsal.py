"""`nox -s gpu -- --fake` goes the whole way on a CPU, with no more packages than a borrowed GPU machine has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs.gpu.lines import FAILED, NOT_MEASURED, REHEARSED
from tests.programs.gpu.parts import NAMES

ROOT = Path(__file__).parents[3]
LACKING = ("msgspec", "fvcore", "iopath", "submitit", "plotly", "httpx2", "axe_core_python", "nox")
"""Packages of arbench's that such a machine lacks, and that the program does without."""
HIDES = f"""
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {LACKING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.mark.slow
def test_a_rehearsal_goes_through_every_part_and_claims_nothing(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDES)  # children have it as well
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.programs.gpu", "--fake", "--minutes", "30", "--out", str(tmp_path / "out")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert found["about"]["rehearsal"] is True
    assert {line["verdict"] for line in found["lines"]} == {REHEARSED, NOT_MEASURED}
    unmeasured = [line for line in found["lines"] if line["verdict"] == NOT_MEASURED]
    assert [line["name"] for line in unmeasured] == ["against the authors' code"]
    assert {line["number"] for line in found["lines"]} >= {"1", "2", "3", "4", "5", "7"}
    assert set(found["figures"]) == set(NAMES) - {"official"}
    text = (tmp_path / "out" / "gpu.txt").read_text()
    assert text.startswith("A rehearsal on the CPU")
    assert "nothing is claimed" in text.splitlines()[0]
    assert FAILED not in text
    killed = [line for line in found["lines"] if "one killed and resumed" in line["name"]]
    assert [line["name"].partition(",")[0] for line in killed] == ["VAR-d16"]
    alike = [line for line in found["lines"] if "same images in" in line["name"]]
    assert len(alike) == 16  # fmnist and three models, fp32 and bf16, shards and processes
    assert {line["value"] for line in alike} == {1.0}
