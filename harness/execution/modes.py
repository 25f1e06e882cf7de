"""The ways to run a method, as the timing protocol's key ``capture`` names them."""

import os
import shutil

import torch

from harness.errors import ArbenchError, unknown

AUTO, OFF, GRAPH, COMPILE = "auto", "off", "graph", "compile"
CAPTURES = (AUTO, OFF, GRAPH, COMPILE)
"""
- ``off``: Python calls each operation (eager).
- ``graph``: a CUDA graph, captured once and replayed. The host then starts one graph in place of thousands of kernels.
- ``compile``: torch.compile; on CUDA what it gives is captured as well.
- ``auto``: ``graph`` on CUDA, ``off`` elsewhere.
"""


def resolved(capture: str, device: torch.device, here: bool = True) -> str:
    """The mode that ``capture`` means on a device: off, graph or compile.

    here: whether this machine runs it; otherwise what the mode needs of the machine is not looked for

    Raises ArbenchError if there is no mode of this name, if the device has no such mode, or if this machine cannot run
    it.
    """
    if capture not in CAPTURES:
        raise unknown("value of capture", capture, CAPTURES)
    if capture == AUTO:
        return GRAPH if device.type == "cuda" else OFF
    if capture == GRAPH and device.type != "cuda":
        raise ArbenchError(f"capture = {capture!r}: {device.type!r} has no CUDA graphs (valid there: {OFF}, {COMPILE})")
    if here and capture == COMPILE and device.type == "cpu" and not any(shutil.which(name) for name in _compilers()):
        raise ArbenchError(f"capture = {capture!r} needs a C++ compiler on a CPU: {' or '.join(_compilers())}")
    return capture


def _compilers() -> tuple[str, ...]:
    return tuple(filter(None, (os.environ.get("CXX"), "g++", "clang++")))
