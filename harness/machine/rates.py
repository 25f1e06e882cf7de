"""What a device can do: how fast it reads memory, and how fast it multiplies matrices.

The floor of an image follows from both rates (harness.stages.floors). CPU and GPU are measured by the same code: only
the sizes of caches and memory are read in different places.
"""

import math
import mmap
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.machine.arithmetic import arithmetic
from harness.machine.cores import groups
from harness.machine.devices import synchronise
from harness.machine.hardware import physical_memory
from harness.machine.system_files import SYSTEM, text

SECONDS = 2.0
"""How long measuring takes, about."""
LEAST_BUFFER, MOST_BUFFER = 2**28, 2**30
"""Bytes of the smallest and of the largest buffer that is read."""
CACHES = 8
"""The buffer is this many times as large as the device's last cache, if MOST_BUFFER permits."""
SHARE_OF_MEMORY = 8
"""The buffer takes at most one part in this many of the memory that there is: of a GPU's free memory, or of the memory
that this process may use on a CPU."""
SIDES = (1024, 2048, 4096, 8192)
"""Sides of the square matrices that are multiplied."""
SAMPLE = 0.01
"""Seconds of one sample at least, so that starting the work does not count."""

Clock = Callable[[], float]
Kind = tuple[torch.device, torch.dtype, str]
"""Where and how a case computes: its device, the precision of its weights, and ``Setup.tf32``."""


def rates(
    device: torch.device,
    dtype: torch.dtype,
    tf32: str = "off",
    seconds: float | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, Any] | None:
    """What the device can do now. None if it lacks the memory, or an operation in this precision.

    - ``bandwidth``: bytes a second, the higher of two rates: of reading, and of copying (where bytes that are read
      count, and bytes that are written count as well)
    - ``matrix``: FLOPs a second of square matrix products in ``dtype``, the best of several sizes
    - ``precision``: torch's name of ``dtype``
    - ``tf32``: the argument
    - ``cache``: bytes of the device's last cache; None if it is not known
    - ``seconds``: how long this took

    Each rate is the best of several samples, because other work on the machine only makes a sample slower.

    tf32: a value of ``Setup.tf32``. With "on", a GPU multiplies float32 several times as fast.
    seconds: how long this takes, about; a device that is very slow takes longer. None stands for SECONDS.
    clock: gives seconds.
    """
    budget = SECONDS if seconds is None else seconds
    began = clock()
    cache = last_cache(device)
    try:
        bandwidth = _bandwidth(device, cache, budget / 2, clock)
        with arithmetic(tf32):
            matrix = _matrix(device, dtype, budget / 2, clock)
    except (RuntimeError, MemoryError, OSError):  # torch's error for too little memory is a RuntimeError
        return None
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    about = {"precision": str(dtype).removeprefix("torch."), "tf32": tf32, "cache": cache}
    return {"bandwidth": bandwidth, "matrix": matrix, **about, "seconds": clock() - began}


def rates_of(kinds: Iterable[Kind], tell: Callable[[str], None]) -> dict[Kind, dict[str, Any] | None]:
    """The rates of several kinds, each measured once. ``tell`` is called with a line for each."""
    found = {kind: rates(*kind) for kind in dict.fromkeys(kinds)}
    for (device, _, tf32), one in found.items():
        if one is not None:
            how = one["precision"] + (" with TF32" if tf32 == "on" else "")
            words = f"{one['bandwidth'] / 1e9:,.1f} GB/s, {one['matrix'] / 1e12:.3g} TFLOP/s in {how}"
            tell(f"timing on {device}: {words}")
    return found


def last_cache(device: torch.device, system: Path = SYSTEM) -> int | None:
    """Bytes of the device's last cache; None if it is not known. A CPU's is the sum over the processors that this
    process may use.

    system: the folder that holds /sys.
    """
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    if device.type != "cpu":
        return None
    found: dict[str, int] = {}  # cores that share a last cache -> its bytes
    for core in os.sched_getaffinity(0):
        caches = system.glob(f"sys/devices/system/cpu/cpu{core}/cache/index*")
        known = [[text(one / name) or "" for name in ("level", "shared_cpu_list", "size")] for one in caches]
        if known:
            _, sharing, size = max(known)
            found[sharing] = _bytes(size)
    return sum(found.values()) or None


def buffer_bytes(cache: int | None, memory: int | None) -> int:
    """Bytes of the buffer that is read. cache: bytes of the last cache; memory: bytes of memory that there is; None if
    unknown"""
    wanted = min(max(CACHES * (cache or 0), LEAST_BUFFER), MOST_BUFFER)
    return wanted if memory is None else min(wanted, memory // SHARE_OF_MEMORY // 8 * 8)


def _bandwidth(device: torch.device, cache: int | None, seconds: float, clock: Clock) -> float:
    buffer = _buffer(device, buffer_bytes(cache, memory_bytes(device)))
    first, second = buffer.chunk(2)
    whole = buffer.numel() * buffer.dtype.itemsize
    read = _best(buffer.sum, whole, device, seconds / 2, clock)
    return max(read, _best(lambda: second.copy_(first), whole, device, seconds / 2, clock))


def _matrix(device: torch.device, dtype: torch.dtype, seconds: float, clock: Clock) -> float:
    best, generator = 0.0, torch.Generator(device).manual_seed(0)  # torch's own random numbers stay as they are
    for side in SIDES:
        # Random values: on a GPU, products of zeros take less power and so run at a higher clock.
        left = torch.randn(side, side, device=device, generator=generator).to(dtype)
        flops = 2 * side**3
        best = max(best, _best(lambda left=left: left @ left, flops, device, seconds / len(SIDES), clock))  # type: ignore[misc]
        if 8 * flops / best > seconds / 8:  # the next size has 8 times the FLOPs
            break
    return best


def _best(work: Callable[[], Any], amount: float, device: torch.device, seconds: float, clock: Clock) -> float:
    """The highest rate at which ``work`` was done, in ``amount`` a second. The first run is not a sample: it also
    prepares what later runs use."""

    def spent(times: int) -> float:
        synchronise(device)
        start = clock()
        for _ in range(times):
            work()
        synchronise(device)
        return max(clock() - start, 1e-9)

    began = clock()
    first = spent(1)
    times, best = 1 if first > SAMPLE else math.ceil(SAMPLE / spent(1)), 0.0
    while True:
        best = max(best, times * amount / spent(times))
        if clock() - began >= seconds:
            return best


def _buffer(device: torch.device, size: int) -> Tensor:
    """A buffer of ``size`` bytes, float32. On a CPU it is mapped for itself, so that all of its memory goes back to the
    system, whatever the allocator keeps."""
    if device.type == "cpu":
        return torch.frombuffer(mmap.mmap(-1, size), dtype=torch.float32).fill_(1)
    return torch.ones(size // 4, dtype=torch.float32, device=device)


def memory_bytes(device: torch.device, system: Path = SYSTEM) -> int | None:
    """Bytes of memory that there is: a GPU's free memory, or what this process may use on a CPU. None if that is not
    known. A container's limit counts.

    system: the folder that holds /proc and /sys.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    files = [group / name for group in groups(system, "memory") for name in ("memory.max", "memory.limit_in_bytes")]
    limits = [int(limit) for file in files if (limit := text(file) or "").isdecimal()]
    return min([physical_memory(), *limits])


def _bytes(size: str) -> int:
    """Bytes, from a text of the kernel such as 307200K; 0 if it is no size."""
    number, unit = size[:-1], {"K": 2**10, "M": 2**20, "G": 2**30}.get(size[-1:], 0)
    return int(number) * unit if number.isdecimal() else 0
