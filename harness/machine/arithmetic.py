"""Says how exactly torch multiplies float32: in float32 itself, or in TF32 where a GPU has it.

TF32 keeps 10 of the 23 bits of a factor's mantissa. By torch's defaults, cuDNN's convolutions use TF32 and matrix
products do not, so a program that says "fp32" gets some of both. ``arithmetic`` states it for both.

torch has two interfaces for this. Since 2.9 it is ``fp32_precision``; before, it was ``allow_tf32``. torch raises
RuntimeError where both are used, so only one of them is used here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

Flag = tuple[Any, str, Any]
"""A setting of torch: the module that has it, its name, its value."""


@contextmanager
def arithmetic(tf32: str, backends: Any = torch.backends) -> Iterator[None]:
    """Compute float32 with or without TF32 inside the ``with``. Afterwards, all settings are what they were.

    The settings belong to the process. On a CPU, oneDNN computes in float32 whatever ``tf32`` says.

    tf32: a value of ``Setup.tf32``, "off" or "on". ValueError for anything else.
    backends: torch's module of that name.
    """
    if tf32 not in ("off", "on"):
        raise ValueError(f"tf32 {tf32!r} (valid: off, on)")
    before: list[Flag] = []
    try:
        for module, name, value in _flags(tf32 == "on", backends):
            before.append((module, name, getattr(module, name)))
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in reversed(before):
            setattr(module, name, value)


def _flags(tf32: bool, backends: Any) -> list[Flag]:
    cuda, cudnn = backends.cuda.matmul, backends.cudnn
    if not hasattr(cuda, "fp32_precision"):
        return [(cuda, "allow_tf32", tf32), (cudnn, "allow_tf32", tf32)]
    # Each operator has its own setting. What is set for a whole backend would not hold where an operator's is set.
    on_gpu, on_cpu = (cuda, cudnn.conv, cudnn.rnn), (backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn)
    return [
        *((one, "fp32_precision", "tf32" if tf32 else "ieee") for one in on_gpu),
        *((one, "fp32_precision", "ieee") for one in on_cpu),
    ]
