"""The state of a machine during timing: load, clock, frequency governor, temperature, GPU driver, state of the GPU. A
value is None if the machine does not report it."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from harness.machine.gpu import reading
from harness.machine.system_files import SYSTEM, text

CPU = "sys/devices/system/cpu/cpu0/cpufreq"


def conditions(system: Path = SYSTEM, device: torch.device | None = None) -> dict[str, Any]:
    """The state of the machine now.

    - ``load``: average over 1 minute
    - ``others``: number of tasks that ran or waited to run, besides this one
    - ``clock_mhz``: clock of the fastest and of the slowest core
    - ``governor``: name of the frequency governor
    - ``celsius``: temperature of the hottest sensor
    - ``driver``: name of the GPU's driver
    - ``gpu``, ``gpu_state``: see ``gpu_state``

    system: the folder that holds /proc and /sys.
    device: the device that is meant by the last two; the GPU that torch uses if none is named, if None.
    """
    cuda = torch.cuda.is_available()
    return {
        "load": os.getloadavg()[0],
        "others": _others(text(system / "proc/loadavg")),
        "clock_mhz": _clock(text(system / "proc/cpuinfo")),
        "governor": text(system / CPU / "scaling_governor"),
        "celsius": _hottest(system / "sys/class/thermal"),
        "driver": (text(system / "proc/driver/nvidia/version") or "").partition("\n")[0] or None if cuda else None,
        **gpu_state(device or torch.device("cuda")),
    }


def gpu_state(device: torch.device) -> dict[str, Any]:
    """What is known of a GPU now.

    - ``gpu``: its name; None if the device is no GPU
    - ``gpu_state``: its state, in the fields of harness.machine.gpu.Reading. None if the device is no GPU, or if its
      driver cannot be asked
    """
    found = reading(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" and torch.cuda.is_available() else None
    return {"gpu": name, "gpu_state": None if found is None else asdict(found)}


def _others(loadavg: str | None) -> int | None:
    """The number of other tasks, from a line of /proc/loadavg such as ``0.20 0.18 0.12 3/80 11206``."""
    return None if loadavg is None else max(0, int(loadavg.split()[3].partition("/")[0]) - 1)


def _clock(cpuinfo: str | None) -> list[float] | None:
    lines = [line.partition(":") for line in (cpuinfo or "").splitlines()]
    found = [float(value) for name, _, value in lines if name.strip() == "cpu MHz"]
    return [max(found), min(found)] if found else None


def _hottest(thermal: Path) -> float | None:
    texts = (text(zone / "temp") for zone in thermal.glob("thermal_zone*"))
    found = [int(one) / 1000 for one in texts if one and one.lstrip("-").isdecimal()]
    return max(found) if found else None
