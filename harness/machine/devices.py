"""Devices by torch's names: ``cpu``, ``cuda`` (any number of GPUs), ``cuda:1``."""

from collections.abc import Sequence

import torch

from harness.errors import ArbenchError
from harness.machine.cores import cores


def named(name: str) -> torch.device:
    """The device, here or elsewhere. Raises ArbenchError if torch knows none of the name."""
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ArbenchError(f"unknown device {name!r} (valid: cpu, cuda, cuda:0 and the like)") from error


def checked(name: str) -> torch.device:
    """The device. Raises ArbenchError if torch knows none of the name, or this machine has none."""
    device = named(name)
    if device.type == "cpu":
        return device
    here = torch.accelerator.current_accelerator()
    count = torch.accelerator.device_count() if here is not None and here.type == device.type else 0
    if (device.index or 0) >= count:
        raise ArbenchError(f"device {name!r} is not to be had: this machine has {count} of its kind")
    return device


def workers(name: str) -> int:
    """How many processes make use of a device: one a core, or one a GPU; 0, this process alone, for a single GPU."""
    device = checked(name)
    if device.type == "cpu":
        return cores()
    count = 1 if device.index is not None else torch.accelerator.device_count()
    return count if count > 1 else 0


def spread(name: str, taken: Sequence[str]) -> str:
    """The device of the next process: where ``name`` stands for several, the one least taken."""
    device = checked(name)
    if device.type == "cpu" or device.index is not None:
        return name
    names = [f"{name}:{index}" for index in range(torch.accelerator.device_count())]
    return min(names, key=taken.count)
