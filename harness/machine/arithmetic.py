"""Says how exactly torch multiplies float32: in float32 itself, or in TF32 where a GPU has it.

TF32 keeps 10 of the 23 bits of a factor's mantissa. By torch's defaults, cuDNN's convolutions use TF32 and matrix
products do not, so a program that says "fp32" gets some of both. ``arithmetic`` states it for both.

torch has two interfaces for this: ``fp32_precision`` of each operator since 2.9, and the older ``allow_tf32`` and
``set_float32_matmul_precision``. Each keeps settings of its own. If they contradict each other, the older functions
raise RuntimeError, also where torch itself calls them (``cudnn.flags``, Inductor). So both are always set, and alike.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import backends


@dataclass(frozen=True)
class _Settings:
    """All settings of torch that decide how float32 is multiplied."""

    matmul: str  # of torch.set_float32_matmul_precision
    cudnn: bool  # torch.backends.cudnn.allow_tf32
    everywhere: str  # torch.backends.fp32_precision: of operators and backends that have none of their own
    cuda: str  # torch.backends.cudnn.fp32_precision: of CUDA's operators that have none of their own
    operators: tuple[str, ...]  # fp32_precision of each operator, in the order of ``_operators``

    def apply(self) -> None:
        """Gives torch these settings."""
        torch.set_float32_matmul_precision(self.matmul)
        backends.cudnn.allow_tf32 = self.cudnn
        backends.fp32_precision = self.everywhere  # type: ignore[attr-defined]
        backends.cudnn.fp32_precision = self.cuda
        for one, value in zip(_operators(), self.operators, strict=True):  # last: the older settings overwrite them
            one.fp32_precision = value


def _operators() -> tuple[Any, ...]:
    cuda, cpu = backends.cudnn, backends.mkldnn
    return backends.cuda.matmul, cuda.conv, cuda.rnn, cpu.matmul, cpu.conv, cpu.rnn  # type: ignore[attr-defined]


# If ``cudnn.flags`` ends, its operators follow the setting ``cuda``. On a CPU, oneDNN stays with float32.
_SETTINGS = {
    "off": _Settings("highest", False, "none", "ieee", ("ieee",) * 6),
    "on": _Settings("high", True, "none", "tf32", ("tf32",) * 3 + ("ieee",) * 3),
}


@contextmanager
def arithmetic(tf32: str) -> Iterator[None]:
    """Compute float32 with or without TF32 inside the ``with``. Afterwards, all settings are what they were, whatever
    was set inside.

    The settings belong to the process. On a CPU, oneDNN computes in float32 whatever ``tf32`` says.

    tf32: a value of ``Setup.tf32``, "off" or "on". ValueError for anything else.
    """
    if tf32 not in _SETTINGS:
        raise ValueError(f"tf32 {tf32!r} (valid: off, on)")
    _warned()
    before = _taken()
    try:
        _SETTINGS[tf32].apply()
        yield
    finally:
        before.apply()


def _taken() -> _Settings:
    """The settings that torch has. They are changed by asking, so that the caller must apply settings next."""
    everywhere = backends.fp32_precision  # type: ignore[attr-defined]
    backends.fp32_precision = "none"  # type: ignore[attr-defined]
    cuda = backends.cudnn.fp32_precision
    backends.cudnn.fp32_precision = "none"
    operators = _operators()
    own = tuple(one.fp32_precision for one in operators)  # none of them now gives what it would inherit
    # The older functions answer only where the operators' settings do not contradict them.
    for one in operators:
        one.fp32_precision = "ieee"
    matmul = torch.get_float32_matmul_precision()
    for one in operators[1:3]:
        one.fp32_precision = "tf32"
    try:
        cudnn = backends.cudnn.allow_tf32
    except RuntimeError:
        cudnn = False
    return _Settings(matmul, cudnn, everywhere, cuda, own)


@cache
def _warned() -> None:
    """Lets torch say unheard that one of the two interfaces is the older one, which some versions say once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _taken().apply()
