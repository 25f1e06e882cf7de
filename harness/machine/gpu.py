"""The state of a GPU, as NVML reports it. NVML is a library of NVIDIA's driver; the package nvidia-ml-py calls it.

A value that the GPU or its driver does not report is None. Without NVML, no value is reported.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch

from harness.machine.devices import visible_names
from harness.machine.system_files import SYSTEM

IDLE = 0x1
REASONS = {
    IDLE: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
}
"""Why the clocks of a GPU are below their maximum: bit -> name. The bits are NVML's nvmlClocksEventReasons."""
THROTTLED = tuple(REASONS[bit] for bit in (0x4, 0x8, 0x20, 0x40, 0x80))
"""The reasons that count as throttling. An idle GPU, clocks that somebody has set, and clocks that a group of GPUs or a
display shares are no throttling."""
RANGES = ("sm_mhz", "memory_mhz", "celsius", "watts", "watts_limit", "busy")
"""The numbers of a Reading for which ``during`` gives the range."""

FIRST_NAMESPACE = "pid:[4026531836]"
"""How /proc names the namespace of pids that Linux starts with. The number is a constant of the kernel."""


@dataclass(frozen=True)
class Reading:
    """What NVML reports of a GPU at one moment."""

    sm_mhz: float | None  # clock of the multiprocessors
    memory_mhz: float | None  # clock of the memory
    celsius: float | None  # temperature
    watts: float | None  # power draw; many GPUs report the mean of the last second
    watts_limit: float | None  # the power limit in force
    reasons: tuple[str, ...] | None  # why the clocks are below their maximum: names as in REASONS
    persistence: bool | None  # whether the driver keeps the GPU initialised while no program uses it
    busy: float | None  # share of the last moments during which a kernel ran, from 0 to 1
    others: int | None  # number of other processes that compute on the GPU; None if that cannot be told


@dataclass(frozen=True)
class GPU:
    """A GPU, as NVML knows it."""

    nvml: Any  # the module pynvml
    handle: Any  # NVML's handle of the GPU. For a slice of a GPU (MIG), this is the handle of the whole GPU
    whole: bool  # False if torch uses a slice of the GPU: readings are still those of the whole GPU

    def read(self) -> Reading:
        """The state of the GPU now."""
        nvml = self.nvml
        persistence, busy = self._ask("nvmlDeviceGetPersistenceMode"), self._ask("nvmlDeviceGetUtilizationRates")
        return Reading(
            sm_mhz=self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            memory_mhz=self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
            celsius=self._ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            watts=_thousandth(self._ask("nvmlDeviceGetPowerUsage")),
            watts_limit=_thousandth(self._ask("nvmlDeviceGetEnforcedPowerLimit")),
            reasons=self._reasons(),
            persistence=None if persistence is None else bool(persistence),
            busy=None if busy is None else busy.gpu / 100,
            others=self._others(),
        )

    def joules(self) -> float | None:
        """Joules that the GPU has used since its driver was loaded. None if the GPU does not count them. None on a
        slice of a GPU as well: the counter includes the work of all slices."""
        return _thousandth(self._ask("nvmlDeviceGetTotalEnergyConsumption")) if self.whole else None

    def _reasons(self) -> tuple[str, ...] | None:
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:  # the older name of the same function: drivers before version 535 know no other
            bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        if bits is None:
            return None
        return tuple(REASONS.get(1 << place, f"bit {place}") for place in range(bits.bit_length()) if bits >> place & 1)

    def _others(self) -> int | None:
        # NVML lists the processes of the whole GPU, whichever slice they use. It counts pids as the host does: in a
        # container, we cannot tell which of the listed processes we are, or our pid is that of another process.
        listed = self._ask("nvmlDeviceGetComputeRunningProcesses") if self.whole and _sees_the_hosts_pids() else None
        pids = None if listed is None else {process.pid for process in listed}
        return len(pids) - 1 if pids is not None and os.getpid() in pids else None

    def _ask(self, name: str, *arguments: Any) -> Any:
        """The answer of a function of NVML about this GPU, as ``_answer`` gives it."""
        return _answer(self.nvml, name, self.handle, *arguments)


def _answer(nvml: Any, name: str, *arguments: Any) -> Any:
    """The answer of a function of NVML; None if there is no such function, or if it does not answer."""
    function = getattr(nvml, name, None)
    try:
        return None if function is None else function(*arguments)
    except nvml.NVMLError:
        return None


def _sees_the_hosts_pids(system: Path = SYSTEM) -> bool:
    """Whether this process counts pids as the host does: whether it is in the namespace that Linux starts with."""
    try:
        return (system / "proc/self/ns/pid").readlink() == Path(FIRST_NAMESPACE)
    except OSError:
        return False


def reading(device: torch.device) -> Reading | None:
    """The state of a device now; None if the device is no GPU that NVML knows."""
    found = gpu(device)
    return None if found is None else found.read()


def gpu(device: torch.device) -> GPU | None:
    """The GPU that torch calls ``device``. None if the device is no GPU of NVIDIA, or if there is no NVML."""
    if device.type != "cuda" or not torch.cuda.is_available() or torch.version.hip:
        return None
    return _gpu(torch.cuda.current_device() if device.index is None else device.index)


@cache
def _gpu(index: int) -> GPU | None:
    nvml = _library()
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    names = visible_names()
    return None if nvml is None else find(nvml, uuid and str(uuid), names[index] if index < len(names) else "")


def _library() -> Any:
    """The module pynvml, ready for use; None if the package or the driver's library is missing."""
    try:
        import pynvml  # late: only a machine with a GPU needs it
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def find(nvml: Any, uuid: str | None, name: str) -> GPU | None:
    """A GPU by its UUID, or if NVML does not know the UUID, by its name. None if neither is known.

    nvml: the module pynvml, ready for use.
    uuid: as torch gives it, without a prefix; None if torch does not know it. It may be that of a slice (MIG).
    name: the GPU's entry in CUDA_VISIBLE_DEVICES: an index, or the beginning of a UUID with its prefix; "" if unknown.
    """
    # torch and NVML may count GPUs in different orders, so an index is the last resort.
    uuids = [f"GPU-{uuid}", f"MIG-{uuid}"] if uuid else []
    for full in [*uuids, *([name] if name.startswith(("GPU-", "MIG-")) else [])]:
        handle = _answer(nvml, "nvmlDeviceGetHandleByUUID", full)
        if handle is not None:
            return _whole(nvml, handle, full.startswith("MIG-"))
    count = _answer(nvml, "nvmlDeviceGetCount") or 0
    handles = [_answer(nvml, "nvmlDeviceGetHandleByIndex", place) for place in range(count)]
    if name.isdecimal():
        chosen = handles[int(name) : int(name) + 1]
    else:
        known = ((one, _answer(nvml, "nvmlDeviceGetUUID", one)) for one in handles if one is not None)
        chosen = [one for one, own in known if own and name.startswith("GPU-") and own.startswith(name)]
    return _whole(nvml, chosen[0], False) if len(chosen) == 1 and chosen[0] is not None else None


def _whole(nvml: Any, handle: Any, is_slice: bool) -> GPU | None:
    """The GPU of a handle. If the handle is that of a slice, the GPU that the slice is part of."""
    if is_slice:
        parent = _answer(nvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle)
        return None if parent is None else GPU(nvml, parent, whole=False)
    mode = _answer(nvml, "nvmlDeviceGetMigMode", handle)  # (now, after the next reset); 1 is on
    return GPU(nvml, handle, whole=mode is None or mode[0] == 0)


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000


def during(readings: Sequence[Reading | None]) -> dict[str, Any] | None:
    """A summary of the readings that were taken during a measurement; None if there are none.

    - ``sm_mhz``, ``memory_mhz``, ``celsius``, ``watts``, ``watts_limit``, ``busy``: each a list of the lowest, the
      median and the highest value; None if the GPU does not report them
    - ``reasons``: for each reason why clocks were below their maximum, the number of readings that name it
    - ``others``: the largest number of other processes on the GPU; None if that could not be told
    - ``readings``: their number
    - ``disturbed``: whether the GPU is known to have been throttled or shared
    """
    known = [one for one in readings if one is not None]
    if not known:
        return None
    found: dict[str, Any] = {}
    for name in RANGES:
        values = [value for one in known if (value := getattr(one, name)) is not None]
        found[name] = [min(values), median(values), max(values)] if values else None
    named = [reason for one in known for reason in one.reasons or ()]
    told = any(one.reasons is not None for one in known)
    found["reasons"] = {reason: named.count(reason) for reason in dict.fromkeys(named)} if told else None
    found["others"] = max((one.others for one in known if one.others is not None), default=None)
    found["readings"] = len(known)
    return {**found, "disturbed": bool(in_words(found))}


def in_words(found: dict[str, Any] | None) -> str:
    """Says whether a GPU was throttled or shared during a measurement, as in ``the GPU was throttled (power cap in 5 of
    13 samples), 2 other processes used the GPU``. Empty if neither is known to have happened.

    found: as ``during`` gives it.
    """
    if found is None:
        return ""
    counts = found["reasons"] or {}
    causes = [f"{name} in {counts[name]} of {found['readings']} samples" for name in THROTTLED if counts.get(name)]
    others = found["others"] or 0
    company = f"{others} other process{'es' if others > 1 else ''} used the GPU" if others else ""
    return ", ".join(filter(None, [f"the GPU was throttled ({', '.join(causes)})" if causes else "", company]))
