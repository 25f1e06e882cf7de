"""The state of a machine during timing: load, clock, frequency governor, temperature, GPU driver. A value is None if
the machine does not report it."""

import os
from pathlib import Path
from typing import Any

import torch

SYSTEM = Path("/")
CPU = "sys/devices/system/cpu/cpu0/cpufreq"


def conditions(system: Path = SYSTEM) -> dict[str, Any]:
    """The state of the machine now.

    - ``load``: average over 1 minute
    - ``others``: number of tasks that ran or waited to run, besides this one
    - ``clock_mhz``: clock of the fastest and of the slowest core
    - ``governor``: name of the frequency governor
    - ``celsius``: temperature of the hottest sensor
    - ``gpu``, ``driver``: names of the GPU and of the GPU's driver

    system: the folder that holds /proc and /sys.
    """
    cuda = torch.cuda.is_available()
    return {
        "load": os.getloadavg()[0],
        "others": _others(_text(system / "proc/loadavg")),
        "clock_mhz": _clock(_text(system / "proc/cpuinfo")),
        "governor": _text(system / CPU / "scaling_governor"),
        "celsius": _hottest(system / "sys/class/thermal"),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "driver": (_text(system / "proc/driver/nvidia/version") or "").partition("\n")[0] or None if cuda else None,
    }


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None


def _others(loadavg: str | None) -> int | None:
    """The number of other tasks, from a line of /proc/loadavg such as ``0.20 0.18 0.12 3/80 11206``."""
    return None if loadavg is None else max(0, int(loadavg.split()[3].partition("/")[0]) - 1)


def _clock(cpuinfo: str | None) -> list[float] | None:
    lines = [line.partition(":") for line in (cpuinfo or "").splitlines()]
    found = [float(value) for name, _, value in lines if name.strip() == "cpu MHz"]
    return [max(found), min(found)] if found else None


def _hottest(thermal: Path) -> float | None:
    texts = (_text(zone / "temp") for zone in thermal.glob("thermal_zone*"))
    found = [int(text) / 1000 for text in texts if text and text.lstrip("-").isdecimal()]
    return max(found) if found else None
