"""What child processes inherit, and how they are found again when their parent is gone."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Child processes that are started inside the ``with`` have these environment variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def deaf() -> Iterator[None]:
    """Child processes that are started inside the ``with`` ignore Ctrl-C. ``deaf`` must be used in the main thread."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def programs(module: str) -> dict[Path, psutil.Process]:
    """The processes of this machine that run ``python -m MODULE PATH``: a dict from PATH to the process."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[-3:-1] == ["-m", module]:
            found[Path(words[-1])] = process
    return found


def lives(process: int, since: float) -> bool:
    """Whether the process with this process id still runs.

    since: a time in seconds since 1970. If the process began after this time, the answer is False: the earlier process
    has ended, and the system has given its id to a new process.
    """
    try:
        found = psutil.Process(process)
        return found.create_time() <= since and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
