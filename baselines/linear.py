"""The matrix product with weights, as every network here computes it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., in], weight [out, in], bias [out] -> [..., out]: x weight' + bias.

    torch hands float32 products on a CPU to MKL, which sums a row in another order when there are fewer than 16 of
    them, and is up to three times as slow as oneDNN from 8 to 256 rows (0.67 ms against 0.50 at [8, 768] x [768, 2304],
    1.6 against 0.64 at 16 rows; two cores). oneDNN gives a row the same bits however many there are, so that an image
    is the same in a batch of 1 and of 64. Its operator has no gradient: training takes torch's.
    """
    # a compiler chooses for itself; a tracer cannot take oneDNN's empty list of scalars
    plain = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
    if weight.is_mkldnn or (ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32 and not plain):
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """nn.Linear by ``linear``."""

    def pack(self) -> None:
        """Lay the weights out as oneDNN reads them, where it runs and has their precision: with few rows a quarter less
        time. They can then neither be trained, nor sliced, nor moved to another device."""
        fast = self.weight.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        if ONEDNN and fast and self.weight.device.type == "cpu" and not self.weight.is_mkldnn:
            packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach())
            self.weight = nn.Parameter(packed, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
