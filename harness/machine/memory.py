"""Peak memory of this process and of its GPU while something runs."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

MEGABYTE = 1e6


@contextmanager
def peak_memory(device: torch.device) -> Iterator[dict[str, Any]]:
    """Measures the peak memory of the code inside the ``with``. Yields a dictionary that is filled on leaving.

    An MB is 10^6 bytes. The keys of the dictionary are:

    - ``peak_memory_mb``: the process's largest resident size, including interpreter, libraries and all loaded weights;
      None if the system does not report it
    - ``peak_memory_rise_mb``: the memory that the code inside the ``with`` added. This is ``peak_memory_mb`` minus the
      resident size on entering. The allocator may still hold memory that earlier code has freed. If the C library
      can do so, this memory is returned to the system before the resident size is read
    - ``peak_memory_scope``: ``run`` if the peak is that of the code inside the ``with``. ``process`` if the system's
      high-water mark could not be reset: the peak is then that of the whole process since its start, with the buffer
      that harness.machine.rates reads (up to 1 GiB)
    - ``gpu_peak_memory_mb``: the most memory that this process had allocated on the GPU at once, with everything else
      that it keeps there, such as other methods; only on CUDA
    - ``gpu_peak_memory_rise_mb``: the memory on the GPU that the code inside the ``with`` added; only on CUDA. What
      replays a graph adds none: the memory of its work was allocated when it was captured
    """
    found: dict[str, Any] = {}
    _give_back()
    reset = _reset()
    before = _status("VmRSS")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        allocated = torch.cuda.memory_allocated(device)
    try:
        yield found
    finally:
        peak = _status("VmHWM")
        found["peak_memory_mb"] = peak
        found["peak_memory_rise_mb"] = None if peak is None or before is None else max(0.0, peak - before)
        found["peak_memory_scope"] = "run" if reset else "process"
        if device.type == "cuda":
            most = torch.cuda.max_memory_allocated(device)
            found["gpu_peak_memory_mb"] = most / MEGABYTE
            found["gpu_peak_memory_rise_mb"] = (most - allocated) / MEGABYTE


def _status(name: str) -> float | None:
    """A size from /proc/self/status in MB; None if it is not there."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / MEGABYTE
    return None


def _give_back() -> None:
    """Makes glibc return freed memory to the system. If freed memory still counted in the resident size on entering
    ``peak_memory``, the measured rise would be too small."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset() -> bool:
    """Sets the process's high-water mark back to its present size. Returns whether that was permitted."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
