"""Energy from the machine's counters: RAPL for processors on Linux, the driver's NVML for a GPU."""

import ctypes
from functools import cache
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")


def joules(device: torch.device, powercap: Path = POWERCAP) -> float | None:
    """Joules that the device has used since some fixed moment; only differences have a meaning.

    On CUDA the energy is that of the GPU; otherwise it is that of all processors. The work of other processes is
    included. None if there is no counter, or if a counter cannot be read.
    """
    if device.type == "cuda":
        return _gpu(device)
    found = [_number(zone / "energy_uj") for zone in packages(powercap)]
    return None if not found or None in found else sum(value or 0 for value in found) / 1e6


@cache
def packages(powercap: Path = POWERCAP) -> tuple[Path, ...]:
    """The zones of RAPL that measure whole processors, such as intel-rapl:0. A zone is a folder with an energy counter.

    The zones of parts of a processor, such as intel-rapl:0:1, are left out. The energy of the whole processor includes
    the energy of the parts.
    """
    return tuple(sorted(zone for zone in powercap.glob("*-rapl:*") if zone.name.count(":") == 1))


def used(before: float | None, after: float | None) -> float | None:
    """Joules between two readings; None if a reading is missing, or if the counter started over in between."""
    return None if before is None or after is None or after < before else after - before


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _gpu(device: torch.device) -> float | None:
    try:
        nvml, handle = _nvml(device.index or 0)
    except (OSError, AttributeError):
        return None
    millijoules = ctypes.c_ulonglong()
    code = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
    return None if code else millijoules.value / 1e3


@cache
def _nvml(index: int) -> tuple[ctypes.CDLL, ctypes.c_void_p]:
    """NVML (a library of the GPU's driver) and NVML's handle of the GPU. Raises OSError if either is missing."""
    nvml, handle = ctypes.CDLL("libnvidia-ml.so.1"), ctypes.c_void_p()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
        raise OSError("NVML gives no handle of the GPU")
    return nvml, handle
