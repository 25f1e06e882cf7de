"""Decides which build of torch is downloaded.

There are two: PyPI's for Linux, with CUDA (3 GB), and the CPU build of torch's own index (200 MB). Without an NVIDIA
driver the CPU build does all that arbench can do here. ``--cuda`` and ``--cpu``, behind nox's ``--``, decide instead.
"""

import gzip
import os
import platform
import re
import shutil
import ssl
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

PACKAGES = ("torch", "torchvision")
CPU, PYPI = "cpu", "pypi"
OPTIONS = {"--cpu": CPU, "--cuda": PYPI}
INDEX = "https://download.pytorch.org/whl/cpu"
WITHIN_S = 2.0
"""Seconds within which the index must answer."""
DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))
"""Files that a loaded NVIDIA driver makes."""


@dataclass(frozen=True)
class Choice:
    """A build of torch, and why it is taken."""

    build: str  # CPU or PYPI
    why: str

    def __str__(self) -> str:
        if self.build == CPU:
            return f"torch's CPU build (about 200 MB), since {self.why}; `-- --cuda` takes PyPI's"
        return f"torch's build on PyPI, with CUDA (3 GB), since {self.why}; `-- --cpu` takes the CPU build"


class NotThereError(Exception):
    """The build that was asked for cannot be had."""


def split(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Splits a session's arguments into the build that they ask for (None if they ask for none) and all other
    arguments. If several options ask for a build, the last one counts."""
    asked = [OPTIONS[argument] for argument in arguments if argument in OPTIONS]
    return (asked[-1] if asked else None), [argument for argument in arguments if argument not in OPTIONS]


def choose(asked: str | None, pins: dict[str, str], python: tuple[int, int]) -> Choice:
    """The build to take for this version of Python. Raises NotThereError if the CPU build was asked for and
    cannot be had."""
    if asked == PYPI:
        return Choice(PYPI, "--cuda asks for it")
    if asked is None and (found := driver()):
        return Choice(PYPI, f"there is an NVIDIA driver ({found})")
    missing = unavailable(pins, python)
    if asked == CPU:
        if missing:
            raise NotThereError(f"--cpu: {missing}")
        return Choice(CPU, "--cpu asks for it")
    if missing:
        return Choice(PYPI, f"there is no NVIDIA driver here, but {missing}")
    return Choice(CPU, f"there is no NVIDIA driver here and {shown_index()} has it")


def index() -> str:
    """Address where the CPU build is looked for: torch's own index, or the mirror that ARBENCH_TORCH_INDEX names."""
    return os.environ.get("ARBENCH_TORCH_INDEX", INDEX).rstrip("/")


def shown_index() -> str:
    """The address of the index for messages: without a user name and a password."""
    return re.sub(r"//[^/@]*@", "//", index())


def driver() -> str | None:
    """Path of a file that shows that an NVIDIA driver is installed; None if there is none."""
    return next((str(path) for path in DRIVER if path.exists()), None) or shutil.which("nvidia-smi")


def unavailable(pins: dict[str, str], python: tuple[int, int]) -> str | None:
    """Why torch's index cannot give the pinned CPU builds; None if it can.

    Takes WITHIN_S at most. Looking up a host's name cannot be given a time limit. Threads therefore ask the index, and
    a thread that takes longer is abandoned.
    """
    names = [name for name in PACKAGES if name in pins]
    shown = shown_index()
    answers: dict[str, str | Exception] = {}
    threads = [threading.Thread(target=_ask, args=(name, answers), daemon=True) for name in names]
    until = time.monotonic() + WITHIN_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    for name in names:
        answer = answers.get(name, TimeoutError())
        if isinstance(answer, TimeoutError):
            return f"{shown} did not answer within {WITHIN_S:.0f} seconds"
        if isinstance(answer, Exception):
            return f"{shown} cannot be reached ({' '.join(str(answer).split())})"
        version = re.escape(pins[name])
        tag = f"cp{python[0]}{python[1]}-cp{python[0]}{python[1]}"
        if not re.search(rf"\b{name}-{version}\+cpu-{tag}-[\w.]*{platform.machine()}\.whl", unquote(answer)):
            return f"{shown} has no CPU build of {name} {pins[name]} for Python {python[0]}.{python[1]}"
    return None


def _ask(name: str, answers: dict[str, str | Exception]) -> None:
    """Read the index's page of a package and put its text into ``answers``; if reading fails, put the error there.
    pip's settings for certificates apply."""
    try:
        trusted = os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE")
        context = ssl.create_default_context(cafile=trusted)
        request = urllib.request.Request(f"{index()}/{name}/", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request, timeout=WITHIN_S, context=context) as response:
            content = response.read()
            packed = response.headers.get("Content-Encoding") == "gzip"
        answers[name] = (gzip.decompress(content) if packed else content).decode("utf-8", "replace")
    except Exception as error:  # whatever the error is, the other build is available
        reason = getattr(error, "reason", error)  # urllib's errors hold their cause here
        answers[name] = reason if isinstance(reason, Exception) else error
