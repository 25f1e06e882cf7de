"""Energy by the machine's own counters: RAPL of the processors on Linux, NVML of the GPU where pynvml is installed."""

from functools import cache
from pathlib import Path
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")


def joules(device: torch.device, powercap: Path = POWERCAP) -> float | None:
    """What the device has used since some moment: differences count. Of the GPU on CUDA, else of all processors,
    whoever worked on them; None where there is no counter, or none that may be read."""
    if device.type == "cuda":
        return _gpu(device)
    found = [_number(zone / "energy_uj") for zone in packages(powercap)]
    return None if not found or None in found else sum(value or 0 for value in found) / 1e6


@cache
def packages(powercap: Path = POWERCAP) -> tuple[Path, ...]:
    """RAPL's zones of whole processors, such as intel-rapl:0; their parts, intel-rapl:0:1, are in them."""
    return tuple(sorted(zone for zone in powercap.glob("*-rapl:*") if zone.name.count(":") == 1))


def used(before: float | None, after: float | None) -> float | None:
    """Joules between two readings; None without them, or where the counter started over in between."""
    return None if before is None or after is None or after < before else after - before


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _gpu(device: torch.device) -> float | None:
    try:
        nvml, handle = _nvml(device.index or 0)
        return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    except Exception:  # no pynvml, no driver, or a GPU older than its counter
        return None


@cache
def _nvml(index: int) -> tuple[Any, Any]:
    import pynvml

    pynvml.nvmlInit()
    return pynvml, pynvml.nvmlDeviceGetHandleByIndex(index)
