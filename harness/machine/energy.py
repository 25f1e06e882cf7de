"""Counters of energy: RAPL for processors on Linux, NVML for a GPU."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from harness.machine.gpu import GPU, gpu
from harness.machine.system_files import text

POWERCAP = Path("/sys/class/powercap")
WHOLE = "psys"
"""The name of a zone of RAPL that counts the whole machine, processors included."""

RAPL_STEP, NVML_STEP = 0.002, 0.1
"""``Counter.step`` of the two kinds of counters. RAPL's moves every millisecond. NVML's moves every 20 to 100 ms,
depending on the GPU."""

Joules = list[float]
"""A reading of a counter: for each of its parts, the joules that it has used since some fixed moment."""


@dataclass(frozen=True)
class Counter:
    """A counter of the energy of a device. Its parts are processors, or it has one part, a GPU. The work of other
    processes is included."""

    read: Callable[[], Joules | None]  # the reading now; None if a part cannot be read
    ranges: tuple[float | None, ...]  # joules at which each part starts over at 0; None if it does not start over
    step: float  # the counter moves at least once in so many seconds


def counter(device: torch.device, powercap: Path = POWERCAP) -> Counter | None:
    """The counter of a device's energy. On CUDA it counts the GPU; otherwise it counts all processors. None if there is
    no counter, or if it cannot be read."""
    if device.type == "cuda":
        found = gpu(device)
        made = None if found is None else Counter(partial(_gpu, found), (None,), NVML_STEP)
    else:
        zones = _packages(powercap)
        ranges = tuple(_joules(zone / "max_energy_range_uj") for zone in zones)
        made = Counter(partial(_zones, zones), ranges, RAPL_STEP) if zones else None
    return None if made is None or made.read() is None else made


def used(before: Joules | None, after: Joules | None, ranges: Sequence[float | None]) -> float | None:
    """Joules between two readings, all parts together; None if a reading is missing.

    A part whose count has fallen has started over at 0. This is taken into account once: a processor of 200 W takes
    20 minutes to start over. None if the count of a part has fallen that does not start over.

    ranges: as in Counter.
    """
    if before is None or after is None:
        return None
    total = 0.0
    for first, last, most in zip(before, after, ranges, strict=True):
        if last < first and most is None:
            return None
        total += last - first + (most if last < first and most is not None else 0.0)
    return total


def _packages(powercap: Path) -> tuple[Path, ...]:
    """RAPL's zones that stand for whole processors, such as intel-rapl:0. The energy of such a zone includes the energy
    of its parts, such as intel-rapl:0:1."""
    zones = sorted(zone for zone in powercap.glob("*-rapl:*") if zone.name.count(":") == 1)
    return tuple(zone for zone in zones if text(zone / "name") != WHOLE)


def _zones(zones: Sequence[Path]) -> Joules | None:
    found = [_joules(zone / "energy_uj") for zone in zones]
    known = [value for value in found if value is not None]
    return known if len(known) == len(found) else None


def _gpu(one: GPU) -> Joules | None:
    found = one.joules()
    return None if found is None else [found]


def _joules(path: Path) -> float | None:
    """A number of microjoules in a file, in joules; None if it cannot be read."""
    found = text(path)
    return int(found) / 1e6 if found is not None and found.isdecimal() else None
