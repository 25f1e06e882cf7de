"""Devices by torch's names: ``cpu``, ``cuda`` (any number of GPUs), ``cuda:1``."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from harness.errors import ArbenchError
from harness.machine.cores import cores


def named(name: str) -> torch.device:
    """The device of this name, even if this machine does not have it. Raises ArbenchError if torch does not know the
    name."""
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ArbenchError(f"unknown device {name!r} (valid: cpu, cuda, cuda:0 and the like)") from error


def checked(name: str) -> torch.device:
    """The device of this name. Raises ArbenchError if torch does not know the name, or if this machine does not have
    the device."""
    device = named(name)
    if device.type == "cpu":
        return device
    here = torch.accelerator.current_accelerator()
    count = torch.accelerator.device_count() if here is not None and here.type == device.type else 0
    if (device.index or 0) >= count:
        raise ArbenchError(f"device {name!r} is not to be had: this machine has {count} of its kind")
    return device


def workers(name: str) -> int:
    """How many worker processes a device needs: one per core, or one per GPU. A single GPU needs 0 workers: this
    process alone does the work."""
    device = checked(name)
    if device.type == "cpu":
        return cores()
    count = 1 if device.index is not None else torch.accelerator.device_count()
    return count if count > 1 else 0


def spread(name: str, taken: Sequence[str]) -> str:
    """The device for the next process. If ``name`` has no index, as in ``cuda``, this is the GPU that occurs least
    often in ``taken``. If ``name`` has an index or is ``cpu``, the device is ``name`` itself.

    taken: the devices of the processes that already run.
    """
    device = checked(name)
    if device.type == "cpu" or device.index is not None:
        return name
    names = [f"{name}:{index}" for index in range(torch.accelerator.device_count())]
    return min(names, key=taken.count)


def visible_names() -> list[str]:
    """The names of the GPUs that this process may use, in torch's order: indices, or UUIDs with the prefix ``GPU-`` or
    ``MIG-`` if CUDA_VISIBLE_DEVICES names GPUs by UUID. Such a UUID may be cut short."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(index) for index in range(torch.accelerator.device_count())]
    return [name.strip() for name in visible.split(",") if name.strip()]


def synchronise(device: torch.device) -> None:
    """Waits until the device has finished its work. On a CPU there is nothing to wait for."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def current(device: torch.device) -> AbstractContextManager[object]:
    """Makes a GPU torch's current device inside the ``with``. Some code, such as a compiled kernel or a graph, runs on
    the current device, wherever its tensors are. For a CPU, nothing is done."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def visible_gpus() -> list[int]:
    """The indices of the GPUs that this process may use. Raises ArbenchError if CUDA_VISIBLE_DEVICES is no list of
    indices."""
    names = visible_names()
    if not all(name.isdecimal() for name in names):
        raise ArbenchError(f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']}: expected numbers, as in 0,1")
    return [int(name) for name in names]
