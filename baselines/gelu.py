"""GELU by its tanh approximation, as VAR's FFNs use it. Also a function that applies an FFN to one group of rows after
another."""

from collections.abc import Callable
from math import log, pi

import torch
from torch import Tensor
from torch.nn import functional as F

LINEAR = -2 * (2 / pi) ** 0.5 / log(2)
CUBIC = 0.044715 * LINEAR
ROWS = 1024
"""The number of rows for which the hidden units of a small FFN fit into the cache of a core."""


def gelu(x: Tensor) -> Tensor:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), float of any shape.

    Since 1 + tanh u = 2 / (1 + exp(-2 u)), this equals x / (1 + 2^(x (LINEAR + CUBIC x^2))).
    """
    if not _lean(x):
        return F.gelu(x, approximate="tanh")
    # On a CPU the power takes a fifth of the time of torch's tanh, and the whole function a third of the time. Results
    # are equal to 1e-6. In bf16, digits would be lost between the products.
    gate = torch.addcmul(x.new_full((), LINEAR), x, x, value=CUBIC).mul_(x).exp2_().add_(1)
    return torch.div(x, gate, out=gate)


def _lean(x: Tensor) -> bool:
    """Whether our own code for CPUs can be used. Three conditions must hold: x is float32 on a CPU, gradients are off,
    and ``torch.compile`` is not compiling the call."""
    plain = not (torch.is_grad_enabled() or torch.compiler.is_compiling())
    return plain and x.device.type == "cpu" and x.dtype == torch.float32


def by_rows(ffn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply ``ffn`` to x [..., dim].

    On a CPU, at most ROWS rows are computed at a time, so that their hidden units stay in the cache.
    """
    rows = x.shape[:-1].numel()
    if rows <= ROWS or not _lean(x):
        return ffn(x)
    # The parts are of equal size: a part of very few rows would be summed up in another order.
    parts = x.reshape(rows, -1).tensor_split(-(-rows // ROWS))
    return torch.cat([ffn(part) for part in parts]).unflatten(0, x.shape[:-1])
