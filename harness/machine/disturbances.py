"""Says what disturbed a measurement, as far as the system counts disturbances. The kinds of disturbance are other work,
steal (time that the hypervisor gave to other machines), waiting for a core, and a container's CPU limit. Disturbed
samples are not dropped: every sample stays and counts."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.machine.cores import cores, groups
from harness.machine.system_files import SYSTEM, text

LOOK_S = 0.5
"""For so many seconds we observe how many cores other processes keep busy."""
DISTURBED = 0.02
"""A sample counts as disturbed if steal, waiting and throttling together took more than this share of its time."""


@dataclass(frozen=True)
class Counters:
    """What the system has counted so far. All counters except ``switches`` are in seconds. A counter is None where the
    system does not count."""

    own: float  # CPU time of this process
    busy: float | None  # CPU time of everything on the cores that this process may use
    steal: float | None  # time that the hypervisor gave those cores to other machines
    waited: float | None  # time that threads of this process were ready to run but had no core
    throttled: float | None  # time for which this container was stopped by its CPU limit
    switches: int  # how often a thread of this process had to leave its core (involuntary context switches)


def counters(system: Path = SYSTEM) -> Counters:
    """The counters now."""
    busy, steal = _cores(text(system / "proc/stat"))
    return Counters(
        time.process_time(), busy, steal, _waited(system / "proc/self/task"), _throttled(system), _switches()
    )


def between(before: Counters, after: Counters) -> dict[str, float | None]:
    """What happened between two readings of the counters.

    - ``others``: CPU time of other work on the same cores, in seconds
    - ``steal``, ``waited``, ``throttled``: as in Counters, in seconds
    - ``switches``: number of involuntary context switches
    """
    busy = _less(after.busy, before.busy)
    # May be negative: the system counts in ticks of 10 ms, this process's own time is exact.
    others = None if busy is None else round(busy - (after.own - before.own), 3)
    return {
        "others": others,
        "steal": _less(after.steal, before.steal),
        "waited": _less(after.waited, before.waited),
        "throttled": _less(after.throttled, before.throttled),
        "switches": after.switches - before.switches,
    }


def quiet_cores(seconds: float = LOOK_S) -> int:
    """The number of free cores, at least 1.

    It is the number of cores that this process may use, minus the number of cores that other processes keep busy. Other
    processes are observed for ``seconds``.
    """
    before = counters()
    time.sleep(seconds)
    others = between(before, counters())["others"] or 0.0
    return max(1, cores() - round(others / seconds))


def by_kind(found: Sequence[Mapping[str, float | None]]) -> dict[str, list[float] | None]:
    """For each kind of disturbance, the list of its values, one per sample; None if the system does not count the kind.

    found: the result of ``between`` for each sample.
    """
    names = found[0] if found else ()
    columns = {name: [one[name] for one in found] for name in names}
    return {name: None if None in values else [v for v in values if v is not None] for name, values in columns.items()}


def disturbed(samples: Sequence[float], found: Mapping[str, Sequence[float] | None]) -> list[bool]:
    """For each sample: whether the sample was disturbed.

    A sample lost time to steal, to waiting and to throttling. These three times are added up. The sample was disturbed
    if the sum is more than a certain share of the time that the sample took. The share is the constant ``DISTURBED``.

    samples: seconds that each sample took.
    found: as ``by_kind`` gives it.
    """
    lost = [0.0] * len(samples)
    for name in ("steal", "waited", "throttled"):
        for place, seconds in enumerate((found.get(name) or ())[: len(lost)]):
            lost[place] += seconds
    return [part > DISTURBED * whole for part, whole in zip(lost, samples, strict=True)]


def in_words(
    samples: Sequence[float], found: Mapping[str, Sequence[float] | None], cores: int, threads: int, more: str = ""
) -> str:
    """Says what disturbed these samples, as in ``4 % steal, other processes used 0.7 of 2 cores``.

    samples, found: as in ``disturbed``.
    cores: number of cores that this process may use.
    threads: number of threads that computed the samples.
    more: what else disturbed them, in words; empty if nothing did.
    """
    whole = sum(samples)

    def share(name: str) -> float:
        return sum(found.get(name) or ()) / whole

    words = [
        f"{share('steal') / cores:.0%} steal" if share("steal") / cores >= 0.005 else "",
        f"other processes used {share('others'):.1f} of {cores} cores" if share("others") >= 0.05 else "",
        f"threads waited for a core {share('waited') / threads:.0%} of the time" if share("waited") >= 0.01 else "",
        f"the container's CPU limit stopped it {share('throttled'):.0%} of the time" if share("throttled") > 0 else "",
    ]
    if not any(words):
        return more or "no cause that the system counts"
    count = f"{sum(disturbed(samples, found))} of {len(samples)} samples disturbed"
    return ", ".join(filter(None, [*words, count, more])).replace("%", " %")


def _cores(stat: str | None) -> tuple[float | None, float | None]:
    """Busy seconds and stolen seconds of the cores that this process may use.

    stat: the text of /proc/stat, which has a line ``cpu0 user nice system idle iowait irq softirq steal ...`` per core.
    """
    if stat is None:
        return None, None
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    lines = (line.split() for line in stat.splitlines() if line.startswith("cpu"))
    ticks = [[int(value) for value in values] for name, *values in lines if name in ours and _digits(values)]
    if not ticks:
        return None, None
    tick = os.sysconf("SC_CLK_TCK")
    busy = sum(user + nice + system + irq + soft for user, nice, system, _, _, irq, soft, *_ in ticks)
    return busy / tick, sum(one[7] for one in ticks) / tick


def _digits(values: Sequence[str]) -> bool:
    return len(values) >= 8 and all(value.isdecimal() for value in values)


def _waited(tasks: Path) -> float | None:
    """How many seconds the threads of a process waited for a core.

    tasks: a folder that has one subfolder per thread. The second number in the subfolder's file
    ``schedstat`` is the thread's waiting time in nanoseconds.
    """
    texts = (text(task / "schedstat") for task in tasks.glob("*"))
    found = [int(parts[1]) for one in texts if one and len(parts := one.split()) == 3 and parts[1].isdecimal()]
    return sum(found) / 1e9 if found else None


def _throttled(system: Path) -> float | None:
    """Seconds for which CPU limits stopped the control groups of this process, summed over nested groups."""
    found = []
    for path in _limits(system):
        counted = dict(line.split() for line in (text(path) or "").splitlines() if len(line.split()) == 2)
        for name, unit in (("throttled_usec", 1e6), ("throttled_time", 1e9)):  # versions 2 and 1
            if counted.get(name, "").isdecimal():
                found.append(int(counted[name]) / unit)
    return sum(found) if found else None


@cache
def _limits(system: Path) -> list[Path]:
    """The files ``cpu.stat`` of this process's control groups. There the system counts how long a group was stopped by
    its CPU limit."""
    return [path for group in groups(system) if (path := group / "cpu.stat").is_file()]


def _switches() -> int:
    try:
        import resource
    except ImportError:  # not a POSIX system
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _less(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else round(max(0.0, after - before), 6)
