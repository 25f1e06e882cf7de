"""A stand-in for the module pynvml: GPUs that report what a test tells them to."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TypeVar

import pytest
import torch

from harness.machine import gpu

T = TypeVar("T")


class NVMLError(Exception):
    """The error of every function that has no answer."""


@dataclass
class FakeGPU:
    """A GPU. A value that is None makes NVML raise an error."""

    uuid: str = "GPU-aaaa1111-0000-0000-0000-000000000000"
    sm_mhz: int | None = 1980
    memory_mhz: int | None = 2619
    celsius: int | None = 41
    milliwatts: int | None = 310_500
    limit_milliwatts: int | None = 700_000
    reasons: int | None = 0
    persistence: int | None = 1
    busy: int | None = 97  # per cent
    pids: Sequence[int] | None = field(default_factory=lambda: [os.getpid()])
    millijoules: int | None = 5_000_000
    mig: int | None = None  # 1 if the GPU is cut into slices


@dataclass
class FakeNvml:
    """The functions of pynvml that arbench calls. A handle is the fake GPU; the handle of a slice is its UUID."""

    gpus: list[FakeGPU] = field(default_factory=lambda: [FakeGPU()])
    slices: dict[str, FakeGPU] = field(default_factory=dict)  # UUID of a slice -> the GPU that it is part of
    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - the names are the library's
        return _told(len(self.gpus) or None)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGPU:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeGPU | str:  # noqa: N802
        if uuid in self.slices:
            return uuid
        return _told(next((one for one in self.gpus if one.uuid == uuid), None))

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, uuid: str) -> FakeGPU:  # noqa: N802
        return self.slices[uuid]

    def nvmlDeviceGetUUID(self, one: FakeGPU) -> str:  # noqa: N802
        return one.uuid

    def nvmlDeviceGetMigMode(self, one: FakeGPU) -> list[int]:  # noqa: N802
        return [_told(one.mig)] * 2

    def nvmlDeviceGetClockInfo(self, one: FakeGPU, kind: int) -> int:  # noqa: N802
        return _told({1: one.sm_mhz, 2: one.memory_mhz}[kind])

    def nvmlDeviceGetTemperature(self, one: FakeGPU, sensor: int) -> int:  # noqa: N802
        return _told(one.celsius)

    def nvmlDeviceGetPowerUsage(self, one: FakeGPU) -> int:  # noqa: N802
        return _told(one.milliwatts)

    def nvmlDeviceGetEnforcedPowerLimit(self, one: FakeGPU) -> int:  # noqa: N802
        return _told(one.limit_milliwatts)

    def nvmlDeviceGetCurrentClocksEventReasons(self, one: FakeGPU) -> int:  # noqa: N802
        return _told(one.reasons)

    def nvmlDeviceGetPersistenceMode(self, one: FakeGPU) -> int:  # noqa: N802
        return _told(one.persistence)

    def nvmlDeviceGetUtilizationRates(self, one: FakeGPU) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=_told(one.busy), memory=30)

    def nvmlDeviceGetComputeRunningProcesses(self, one: FakeGPU) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in _told(one.pids)]

    def nvmlDeviceGetTotalEnergyConsumption(self, one: FakeGPU) -> int:  # noqa: N802
        return _told(one.millijoules)

    def install(self, patch: pytest.MonkeyPatch, uuid: str | None = None) -> None:
        """Make torch seem to have CUDA, with the first GPU as its ``cuda:0`` (or the one with this UUID), and give it
        this NVML."""
        properties = SimpleNamespace(uuid=(uuid or self.gpus[0].uuid).removeprefix("GPU-").removeprefix("MIG-"))
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "current_device", lambda: 0)
        patch.setattr(torch.cuda, "get_device_name", lambda device=None: f"Fake H100 {device or ''}".strip())
        patch.setattr(torch.cuda, "get_device_properties", lambda *_: properties)
        patch.setattr(gpu, "_gpu", gpu._gpu.__wrapped__)  # nothing is kept between tests
        patch.setattr(gpu, "_library", lambda: self)
        patch.setattr(gpu, "_sees_the_hosts_pids", lambda: True)


def _told(value: T | None) -> T:
    if value is None:
        raise NVMLError
    return value
