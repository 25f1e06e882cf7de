"""The project's chores. ``nox -l`` lists them; what follows ``--`` is passed on, but for --cuda and --cpu: they say
which build of torch is installed (chores/torch_build.py).

All sessions but ``pythons``, ``lowest``, ``lock`` and ``gpu`` share one environment, .nox/arbench
(chores/environment.py).
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

import nox
from nox.command import CommandFailed

ROOT = Path(__file__).parent.resolve()
sys.path.insert(0, str(ROOT))

from chores import environment, interpreters, torch_build  # noqa: E402 - nox does not put this folder on the path
from chores.environment import LOCK, PROJECT, Environment  # noqa: E402

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "tests"]

SHARED = Environment(ROOT / ".nox" / "arbench")
IN_ORDER = ("reproduce", "unit", "conformance")
"""Test folders that run first: the fast ones, after the small `reproduce`. If `reproduce` began last, it would still
run when no other process has work left."""
BROWSER_LAST = ("browser",)
SEVERAL = ("-n", "auto", "--maxprocesses", "4", "--dist", "worksteal")
"""pytest's options for several processes at a time."""
ALONE = ("alone",)
"""Tests that measure seconds. They run while no other tests use the machine."""
APART = ("docs", "slurm", "local")
"""Test folders that take minutes; slurm also needs root. `nox -s long` runs them, so that `nox -s tests` stays within a
quarter of an hour."""
ELSEWHERE = ("tests/unit", "tests/conformance")
"""Test folders that run on each further Python."""
TEST_TOOLS = ("hypothesis", "nox", "packaging", "pytest-xdist", "setuptools>=77")
CUDA = re.compile(r"nvidia-(?!ml-py$)|cuda-|triton$")
LOCK_HEADER = """\
# Every package that nox installs, pinned. Made by `nox -s lock`: pip resolves `.[dev]` of pyproject.toml in an empty
# environment, held to the pins of this file as it was. `nox -s lock -- --upgrade` lets go of them all, `nox -s lock --
# --upgrade NAME...` of some. Left out: the CUDA packages (nvidia-*, cuda-*, triton), which the Linux build of torch on
# PyPI pins itself and a CPU build does without; nvidia-ml-py is none of them: it asks the driver, and needs no CUDA.
# torch's pin takes both builds: 2.14.1 is satisfied by 2.14.1+cpu.
"""


@nox.session(venv_backend="none")
def reproduce(session: nox.Session) -> None:
    """Measure every method with the bundled weights, skip what is recorded, write the report."""
    rest = "Other options go to `arbench run`: --images N, --retry-failed, --workers N..."
    parser = argparse.ArgumentParser(prog="nox -s reproduce --", epilog=rest, allow_abbrev=False)
    parser.add_argument("--full", action="store_true", help="cross guidance as well, 10,000 images a trial (hours)")
    parser.add_argument("--store", default="store", metavar="DIR", help="where records are kept (default: %(default)s)")
    parser.add_argument("--out", default="site", metavar="DIR", help="where the pages go (default: %(default)s)")
    asked, others = parser.parse_known_args(given(session))
    sweep = "fmnist-full" if asked.full else "fmnist"
    install(session)
    some_failed = False
    try:
        # `arbench run` writes the report: first when a few trials are measured, last when all is timed.
        places = ["--store", asked.store, "--report", asked.out]
        run(session, "arbench", "run", f"harness/sweeps/{sweep}.toml", *places, "--batch", "500", *others)
    except CommandFailed as failure:
        some_failed = failure.reason == "Returned code 1"  # trials failed, as the report shows; other codes end it here
        if not some_failed:
            raise
    session.log(f"the report: {(ROOT / asked.out / 'index.html').as_uri()}")
    if some_failed:
        session.error("some trials failed; the report says which and why, and --retry-failed tries them again")


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """pytest, a process a core, then what measures seconds; or what is named: `nox -s tests -- tests/unit -x`."""
    install(session)
    folders = sorted(path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py")))
    between = [name for name in folders if name not in (*IN_ORDER, *BROWSER_LAST, *ALONE, *APART)]
    ordered = [f"tests/{name}" for name in (*IN_ORDER, *between, *BROWSER_LAST) if name in folders]
    if given(session):
        run(session, "pytest", *given(session))
    else:
        run(session, "pytest", *SEVERAL, *ordered)
        run(session, "pytest", *(f"tests/{name}" for name in ALONE))


@nox.session(venv_backend="none")
def pythons(session: nox.Session) -> None:
    """The lock, tests and a small benchmark on other Pythons: those that are here, or `-- 3.12 3.13.1`."""
    parser = argparse.ArgumentParser(prog="nox -s pythons --")
    parser.add_argument(
        "versions", nargs="*", metavar="VERSION", help="all that pyproject.toml names and are installed"
    )
    parser.add_argument("--install-only", action="store_true", help="make their environments, test nothing")
    parser.add_argument("--brief", action="store_true", help="no slow tests, and the first case of each of the others")
    asked = parser.parse_args(given(session))
    brief = ["--brief"] if asked.brief else []
    named = asked.versions or interpreters.supported(tomllib.loads(PROJECT.read_text())["project"])
    found = {version: python for version in named if (python := interpreters.find(version))}
    missing = [version for version in named if version not in found]
    if missing:
        say = session.error if asked.versions or not found else session.warn
        say(f"not found on the PATH, nor by pyenv or uv: Python {', '.join(missing)}")
    environments = [_environment(version, python) for version, python in found.items()]
    for place in environments:
        place.install(session)
    for place in [] if asked.install_only else environments:
        session.log(f"on {place.python}")
        place.run(session, "pytest", *SEVERAL, *brief, *ELSEWHERE)
        with tempfile.TemporaryDirectory() as folder:
            store = ["--store", f"{folder}/store"]
            for command in (["run", "smoke", *store], ["report", *store, "--out", f"{folder}/site"]):
                place.run(session, "arbench", *command)
        for name in ("verify", "claims"):
            place.run(session, "arbench", name)


@nox.session(venv_backend="virtualenv", reuse_venv=True)
def lowest(session: nox.Session) -> None:
    """Tests, in brief, with the lowest versions that pyproject.toml allows: their torch is 3 GB to download."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    constraints = Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text("\n".join(re.sub(r">=([^,]+).*", r"==\1", line) for line in project["dependencies"]))
    session.install("--no-compile", "-c", str(constraints), "-e", str(ROOT), *TEST_TOOLS)
    session.run("pytest", *(given(session) or [*SEVERAL, "--brief", *ELSEWHERE]), env={"PYTHONPATH": None})


@nox.session(venv_backend="none")
def long(session: nox.Session) -> None:
    """pytest: pages of docs/ followed as they stand, sweeps on this machine and on Slurms that the tests start, as
    root."""
    install(session)
    # Jobs on Slurm mostly wait, so three test files run at a time; those of slurm have a Slurm each.
    several = ["-n", "3", "--dist", "loadfile"]
    run(session, "pytest", *several, *(given(session) or [f"tests/{name}" for name in APART]))


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Make the pages of docs/ into docs-site/, with a reference from the docstrings; a warning is an error."""
    install(session)
    run(session, "sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "docs-site", *given(session))
    session.log(f"the pages: {(ROOT / 'docs-site' / 'index.html').as_uri()}")


@nox.session(venv_backend="none")
def corpus(session: nox.Session) -> None:
    """2,000 damaged or odd files of every kind that is read: is each read right, or told in one clear line?"""
    install(session)
    run(session, "python", "-m", "tests.corpus", *given(session))


@nox.session(venv_backend="none")
def coverage(session: nox.Session) -> None:
    """Resample real test images 200 times: how often does the 95 % interval of FID hold the full-sample value?"""
    install(session)
    run(session, "python", "-m", "tests.programs.coverage", *given(session))


@nox.session(venv_backend="none")
def copies(session: nox.Session) -> None:
    """Time two identical copies and a slower one 20 times: does the timing tell them apart? `-- --busy`: under load."""
    install(session)
    run(session, "python", "-m", "tests.programs.timing_copies", *given(session))


@nox.session(venv_backend="none")
def overhead(session: nox.Session) -> None:
    """Make 10,000 images by a bare loop and by the harness, shard by shard: what does the harness add?"""
    install(session)
    run(session, "python", "-m", "tests.programs.overhead", *given(session))


@nox.session(venv_backend="none")
def sparse(session: nox.Session) -> None:
    """Time ActVAR and static pruning against VAR on this CPU, and VAR's draws: do saved FLOPs save time?"""
    install(session)
    run(session, "python", "-m", "tests.programs.sparse", *given(session))


@nox.session(venv_backend="none")
def large(session: nox.Session) -> None:
    """The metrics, and `arbench score`, at 50,000 images: seconds, memory, FID against torch-fidelity's."""
    install(session)
    run(session, "python", "-m", "tests.programs.large", *given(session))
    run(session, "python", "-m", "tests.programs.large_score", *given(session))


@nox.session(venv_backend="none")
def records(session: nox.Session) -> None:
    """Write anew the records that `arbench verify` checks where none is named; needed when bundled weights change."""
    install(session)
    kept = ROOT / "harness" / "records" / "bundled"
    with tempfile.TemporaryDirectory() as folder:
        run(session, "arbench", "run", "verify", "--store", folder, *given(session))
        for old in kept.glob("*.json"):
            old.unlink()
        for new in (Path(folder) / "records").glob("*.json"):
            shutil.copy(new, kept / f"{new.name.partition('[')[0]}.json")


@nox.session(venv_backend="none")
def bundle(session: nox.Session) -> None:
    """Write anew the records that `arbench claims` judges where no store is named, from one: `-- --store DIR`."""
    parser = argparse.ArgumentParser(prog="nox -s bundle --")
    parser.add_argument("--store", default="store", metavar="DIR", help="folder of records (default: %(default)s)")
    asked = parser.parse_args(given(session))
    install(session)
    run(session, "python", "-m", "reports.claims.bundled", asked.store)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """ruff: rules and layout."""
    install(session)
    run(session, "ruff", "check")
    run(session, "ruff", "format", "--check")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """mypy, strict."""
    install(session)
    run(session, "mypy", *given(session))


@nox.session(venv_backend="none")
def retrain(session: nox.Session) -> None:
    """Train every set of bundled weights from its seed: hours; resumes where a killed run stopped."""
    install(session)
    run(session, "arbench", "train", "--all", *given(session))


@nox.session(venv_backend="none")
def gpu(session: nox.Session) -> None:
    """Does arbench keep what it promises of a GPU? 8 minutes, with the torch that is installed; see `-- --help`."""
    # A borrowed machine has a torch for its GPU, and often no network: nothing is installed.
    candidates = [sys.executable, shutil.which("python3"), str(SHARED.folder / "bin" / "python")]
    python = interpreters.with_torch([path for path in candidates if path])
    if python is None:
        session.error(f"none of these has torch: {', '.join(filter(None, candidates))}")
    session.run(python, "-m", "tests.programs.gpu", *session.posargs, external=True)


@nox.session(venv_backend="none")
def speed(session: nox.Session) -> None:
    """Time our generation against the authors' checkouts: `-- --llamagen DIR --ear DIR --var DIR`, on a GPU with
    `--device cuda` (see `-- --help`)."""
    install(session)
    run(session, "python", "-m", "tests.official.speed", *given(session))


@nox.session(venv_backend="none")
def equal(session: nox.Session) -> None:
    """Hold our figures against the authors' code, at full size, on random weights: `-- VAR DIR`, on a GPU with
    `--device cuda` (see `-- --help`)."""
    install(session)
    run(session, "python", "-m", "tests.official.equal", *given(session))


@nox.session(venv_backend="virtualenv", reuse_venv=False)
def lock(session: nox.Session) -> None:
    """Write requirements.lock anew; `-- --upgrade [NAME...]` lets pins move."""
    parser = argparse.ArgumentParser(prog="nox -s lock --")
    parser.add_argument("--upgrade", nargs="*", metavar="NAME", help="let go of these pins; of all if none is named")
    released = parser.parse_args(given(session)).upgrade
    pins = LOCK.read_text().splitlines() if LOCK.exists() else []
    held = [] if released == [] else [pin for pin in pins if pin.partition("==")[0] not in (released or [])]
    folder = Path(session.create_tmp())
    constraints, report = folder / "constraints.txt", folder / "report.json"
    constraints.write_text("\n".join(held))
    # Resolving without installing gives what pip freeze would, and avoids the download of gigabytes.
    quiet = ["--quiet", "--dry-run", "--ignore-installed"]
    session.run("python", "-m", "pip", "install", *quiet, "-c", str(constraints), "--report", str(report), ".[dev]")
    found = [item["metadata"] for item in json.loads(report.read_text())["install"] if not _is_ours(item)]
    named = {re.sub(r"[-_.]+", "-", item["name"]).lower(): item["version"].partition("+")[0] for item in found}
    lines = [f"{name}=={version}" for name, version in sorted(named.items()) if not CUDA.match(name)]
    LOCK.write_text(LOCK_HEADER + "\n".join(lines) + "\n")
    session.log(f"{LOCK.name}: {len(lines)} pins")


def install(session: nox.Session) -> None:
    """Bring the shared environment up to what the lock and pyproject.toml say. Returns at once if it is up to date."""
    SHARED.install(session)


def run(session: nox.Session, program: str, *arguments: str) -> None:
    """Run a program of the shared environment. The session fails if the program fails."""
    SHARED.run(session, program, *arguments)


def given(session: nox.Session) -> list[str]:
    """The arguments passed to a session, without --cuda and --cpu, which ``install`` reads."""
    return torch_build.split(session.posargs)[1]


def _environment(version: str, python: str) -> Environment:
    """The environment of an interpreter: the shared one, if the interpreter is the one that runs nox."""
    same = environment.version(python) == environment.version(sys.executable)
    return SHARED if same else Environment(ROOT / ".nox" / f"arbench-{version}", python)


def _is_ours(item: dict[str, dict[str, object]]) -> bool:
    return "dir_info" in item["download_info"]
