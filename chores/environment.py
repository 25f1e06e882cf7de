"""The environments under .nox/ that sessions run in: one that all share, and one for each further Python.

PyPI's Linux build of torch requires CUDA libraries, with which an environment takes 6 GB. One environment per session
would cost many times the disk space and the wait. Sessions therefore have nox's backend "none" and run the programs of
the shared environment. virtualenv makes it: nox brings virtualenv, and it works where Debian has left ensurepip out.
pip fills it: uv does not look where pip has been told to find wheels.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nox
from nox.command import CommandFailed

from chores import torch_build
from chores.torch_build import Choice

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the packages that requirements.lock pins, and this checkout as an editable install."""

    folder: Path
    python: str = sys.executable  # the interpreter that the environment is made from

    def install(self, session: nox.Session) -> None:
        """Bring the environment up to date with the lock, pyproject.toml and the session's --cpu or --cuda. Returns at
        once if the environment is up to date already."""
        asked, _ = torch_build.split(session.posargs)
        self.folder.parent.mkdir(exist_ok=True)
        with self.folder.with_name(f"{self.folder.name}.lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)  # two sessions started at the same time install once
            stamp = self.folder / "installed.sha256"
            wanted = _wanted(self.python)
            held, _, build = stamp.read_text().partition(" ") if stamp.exists() else ("", "", "")
            if held == wanted and asked in (None, build):
                return
            choice = _choice(session, asked, build, self.python)
            stamp.unlink(missing_ok=True)
            session.log(f"installing into {self.folder.relative_to(ROOT)}, once; {choice}")
            self._make(session, afresh=build not in ("", choice.build))
            build = self._fill(session, choice, asked is not None)
            stamp.write_text(f"{wanted} {build}")

    def run(self, session: nox.Session, program: str, *arguments: str) -> None:
        """Run a program of the environment. The session fails if the program fails."""
        # The pinned packages must not see the user's own packages (PYTHONPATH, ~/.local).
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        env = {"PYTHONNOUSERSITE": "1", "PYTHONPATH": None, "PATH": path}
        session.run(str(self.folder / "bin" / program), *arguments, env=env, external=True)

    def _make(self, session: nox.Session, afresh: bool) -> None:
        """Make the environment. An existing one is cleared if ``afresh``, or if it runs another Python or none."""
        own = self.folder / "bin" / "python"
        clear = afresh or not own.exists() or version(str(own)) != version(self.python)
        options = ["--quiet", *(["--clear"] if clear else []), "--python", self.python]
        session.run(sys.executable, "-m", "virtualenv", *options, str(self.folder), external=True)

    def _fill(self, session: nox.Session, choice: Choice, insisted: bool) -> str:
        """Install all pins and this checkout. Returns the build of torch that was installed.

        If the CPU build cannot be downloaded after all, PyPI's build is installed, unless the user ``insisted``.
        """
        # `pip install -e .` leaves this in a checkout. Programs that run there would find its old entry points first.
        shutil.rmtree(ROOT / "arbench.egg-info", ignore_errors=True)
        # Compiling all modules takes a minute. Python compiles a module at its first import; most are never imported.
        pip = ("python", "-m", "pip", "install", "--no-compile")
        if choice.build == torch_build.CPU:
            # Only these two come from torch's index. All other packages come from where pip is told to look anyway.
            torches = [f"{name}=={pins()[name]}+cpu" for name in torch_build.PACKAGES if name in pins()]
            try:
                self.run(session, *pip, "--no-deps", "--extra-index-url", torch_build.index(), *torches)
            except CommandFailed:
                if insisted:
                    raise
                session.warn("the CPU build could not be downloaded: PyPI's it is")
                choice = Choice(torch_build.PYPI, "the CPU build could not be downloaded")
        self.run(session, *pip, "-r", str(LOCK))
        # The lock brings setuptools, so no second copy is fetched to build our own package. The package is editable:
        # a change of the source needs no installation.
        self.run(session, *pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT))
        return choice.build


def pins() -> dict[str, str]:
    """The versions in requirements.lock, by package."""
    lines = LOCK.read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def version(python: str) -> str:
    """``sys.version`` of an interpreter; empty if it does not start."""
    program = "import sys; print(sys.version)"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=False).stdout.strip()


def _choice(session: nox.Session, asked: str | None, build: str, python: str) -> Choice:
    """The build of torch to install. An installed build stays unless the user asks for a build with --cpu or --cuda, so
    that the index need not be asked again."""
    if asked is None and build:
        return Choice(build, "it is the one that was installed before")
    major, minor = version(python).split(".")[:2]
    try:
        return torch_build.choose(asked, pins(), (int(major), int(minor)))
    except torch_build.NotThereError as error:
        session.error(str(error))


def _wanted(python: str) -> str:
    """Hash of what an environment depends on: requirements.lock, pyproject.toml, the interpreter's version, and the
    folder that the editable install points to."""
    parts = (LOCK.read_bytes(), PROJECT.read_bytes(), version(python).encode(), str(ROOT).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
