"""The wheel: it is whole, and runs where other modules have the names of our packages. tests/docs follow the pages with
nothing but the wheel, in an empty folder."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import submitit

from harness.cluster import site
from harness.cluster.slurm import launch
from harness.cluster.submitted import Submission
from tests.helpers.wheel import PACKAGES, ROOT, build, environment, install, packages

OURS = PACKAGES[1:]
WORKER = """
import multiprocessing
from arbench.packages import OURS, conflict, location

def told() -> None:
    print(*(location(name) for name in OURS), flush=True)

if __name__ == "__main__":
    print(conflict())
    told()
    process = multiprocessing.get_context("spawn").Process(target=told)
    process.start()
    process.join()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = environment(tmp_path_factory.mktemp("installed"))
    install(made, wheel)
    return made


def ran(programs: Path, cwd: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A program of the environment, as somebody runs it who has nothing else."""
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(cwd), **more}
    words = [str(programs / command[0]), *command[1:]]
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def shadows(folder: Path, *names: str) -> Path:
    """A project with modules of those names, which fail where they are imported."""
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('the {name} of another project')\n")
    return folder


def test_the_wheel_carries_every_file_of_the_packages(wheel: Path) -> None:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(ROOT)) for path in paths if "__pycache__" not in path.parts}
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert expected <= held, sorted(expected - held)
    assert {name.partition("/")[0] for name in held if "dist-info" not in name} == set(PACKAGES)


@pytest.mark.parametrize("name", OURS)
def test_a_projects_own_module_of_our_name_does_not_matter(programs: Path, tmp_path: Path, name: str) -> None:
    shadows(tmp_path, name)
    for command, more in ((["arbench"], {"PYTHONPATH": str(tmp_path)}), (["python", "-m", "arbench"], {})):
        done = ran(programs, tmp_path, *command, "--help", **more)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert all(word in done.stdout for word in ("run ", "report ", "train "))


def test_worker_processes_have_our_modules_too(programs: Path, tmp_path: Path) -> None:
    shadows(tmp_path, *OURS)
    (tmp_path / "script.py").write_text(WORKER)
    done = ran(programs, tmp_path, "python", "script.py")
    first, *others = done.stdout.splitlines()
    assert first == "None", done.stdout + done.stderr
    assert others == [" ".join(str(packages(programs.parent) / name / "__init__.py") for name in OURS)] * 2


def test_jobs_of_slurm_do_not_take_our_packages_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, here = tmp_path / "copy", shadows(tmp_path / "here", "harness")
    (copy / "harness").mkdir(parents=True)
    (copy / "harness" / "__init__.py").write_text("print('the copy of the code')\n")
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda owner: 2))
    made = Submission("name", "generate", (("job",),), 0, 0.0, "driver", "code", tmp_path / "jobs")
    job = launch._executor(made, site.Site().resources("generate"), copy, 1, ())
    command = job._submitit_command_str.replace("submitit.core._submit", "harness")
    setup = job.parameters["setup"]
    done = subprocess.run(
        ["sh", "-c", "\n".join([*setup, command])], cwd=here, capture_output=True, text=True, check=False
    )
    assert done.stdout == "the copy of the code\n", done.stderr
    assert "harness is a package and cannot be directly executed" in done.stderr.replace("'", "")


def test_a_module_that_stays_in_the_way_is_named(programs: Path, tmp_path: Path) -> None:
    other = shadows(tmp_path / "other", "reports") / "reports" / "__init__.py"
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, importlib.util as u\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        return u.spec_from_file_location(name, {str(other)!r}) if name == 'reports' else None\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    done = ran(programs, tmp_path, "arbench", "list", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"arbench: {other} is in the way of arbench's own package 'reports': rename it, or ")
    assert done.stderr.count("\n") == 1


def test_a_distribution_that_has_overwritten_one_of_our_packages_is_named(programs: Path, tmp_path: Path) -> None:
    own = packages(programs.parent)
    kept = (own / "reports" / "__init__.py").read_bytes()
    other = shadows(tmp_path, "reports")
    (other / "pyproject.toml").write_text('[project]\nname = "quarterly"\nversion = "1"\n')
    try:
        install(programs, other)
        done = ran(programs, tmp_path, "arbench", "list")
    finally:
        (own / "reports" / "__init__.py").write_bytes(kept)
        shutil.rmtree(next(own.glob("quarterly-*")))
    assert done.returncode == 2
    assert done.stderr.startswith("arbench: the distribution 'quarterly' has overwritten ")
    assert "reports/__init__.py, arbench's own: give arbench an environment of its own" in done.stderr
    assert done.stderr.count("\n") == 1
