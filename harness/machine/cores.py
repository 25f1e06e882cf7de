"""How many cores this process may use: the cores that it may run on, limited by a container's quota."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from harness.machine.system_files import SYSTEM

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that set the number of threads for computations. Libraries read the variables on loading."""
heeded: list[str] = []
"""The variables of THREADS that ``heed_quota`` has set in this process."""


def cores(root: Path = SYSTEM) -> int:
    """The number of cores that this process may use, at least 1. A quota is rounded down: 1.5 cores give 1."""
    # If two threads ran under a quota of 1.5 cores, the quota would be used up before each tenth of a second is over.
    # The system would then stop both threads until the next tenth of a second begins.
    share = quota(root)
    return allowed() if share is None else max(1, min(allowed(), int(share)))


def allowed() -> int:
    """The number of cores that this process may run on, whatever its quota."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(root: Path = SYSTEM) -> float | None:
    """The CPU time that the control groups of this process allow, in cores. Of nested groups, the lowest limit holds.
    None without a limit."""
    found = [share for group in groups(root) if (share := _share(group)) is not None]
    return min(found, default=None)


def heed_quota(root: Path = SYSTEM) -> None:
    """Limit numpy and torch to as many threads as the quota allows. If there is no quota, nothing is changed: numpy and
    torch count the cores themselves. If the user has set a number of threads, that number stays."""
    if quota(root) is None or THREADS[0] in os.environ:
        return
    for name in THREADS:
        if name not in os.environ:
            os.environ[name] = str(cores(root))
            heeded.append(name)
    if (torch := sys.modules.get("torch")) is not None:  # loaded already: it does not read the variables again
        torch.set_num_threads(min(torch.get_num_threads(), cores(root)))


def groups(root: Path, controller: str = "cpu") -> Iterator[Path]:
    """The folders of the control groups that can limit what this process uses. The innermost group comes first.

    controller: ``cpu`` for CPU time, ``memory`` for memory.
    """
    mounts = list(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        unified = controllers == ""
        if not unified and controller not in controllers.split(","):
            continue
        for kind, options, top, place in mounts:
            if kind == ("cgroup2" if unified else "cgroup") and (unified or controller in options.split(",")):
                own = _below(path, top)
                yield from (root / place.lstrip("/") / part for part in (own, *own.parents))


def _below(path: str, top: str) -> PurePosixPath:
    """The path of a control group, relative to ``top``. Empty if ``path`` is not below ``top``.

    Control groups form a tree. The system shows the tree, or a part of it, as folders.

    path: the path of the control group in the whole tree
    top: the path of the topmost group that is shown as a folder
    """
    # A path that is not below ``top`` occurs inside a container. Only the container's own groups are mounted in the
    # container. But the system sometimes gives the path that a group has outside the container.
    group = PurePosixPath(path)
    inside = group.relative_to(top) if group.is_relative_to(top) else PurePosixPath()
    return PurePosixPath() if ".." in inside.parts else inside


def _mounts(root: Path) -> Iterator[tuple[str, str, str, str]]:
    """The mounted trees of control groups. For each tree: the type of the file system (as in ``cgroup2``), the options,
    the path of the topmost group in the tree, and the folder of this group."""
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        about, kinds = left.split(), right.split()
        if len(about) > 4 and len(kinds) > 2 and kinds[0].startswith("cgroup"):
            yield kinds[0], kinds[2], _plain(about[3]), _plain(about[4])


def _plain(escaped: str) -> str:
    """A path from /proc/self/mountinfo, without that file's escapes. The file writes a space as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), escaped)


def _share(group: Path) -> float | None:
    """The quota, in cores, of one control group of version 1 or 2; None if the group has no quota."""
    words = " ".join(_lines(group / "cpu.max")).split()
    if not words:
        words = [*_lines(group / "cpu.cfs_quota_us"), *_lines(group / "cpu.cfs_period_us")]
    try:
        limit, period = (int(word) for word in words)
    except ValueError:  # "max", or no such files
        return None
    return limit / period if limit > 0 and period > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
