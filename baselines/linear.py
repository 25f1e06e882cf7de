"""The products with weights of the single-scale networks, whose steps have few rows and so wait for memory."""

import torch
from torch import Tensor, nn

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
LARGE = 2**19
"""Weights from which packing pays: below, what oneDNN adds to a call is more than it saves."""
FEW = 8
"""Rows below which MKL, which torch uses for float32, is the faster."""


class Linear(nn.Linear):
    """nn.Linear that can have its weights packed for a CPU.

    torch's own float32 product reads its weights several times where there are few rows, but not very few: 37 ms for
    all of LlamaGen-B's at 8 rows, against 24 packed; in bf16 18 and 12 (two cores).
    """

    packed: Tensor | None = None

    def pack(self) -> None:
        """Lay large weights out as oneDNN reads them, where it runs on this processor. In float32 they are kept twice,
        for steps of fewer than FEW rows; in bf16 the others go, and neither training nor saving is possible then."""
        fast = self.weight.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        if ONEDNN and fast and self.weight.device.type == "cpu" and self.weight.numel() >= LARGE:
            self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach())
            if self.weight.dtype != torch.float32:
                self.weight = nn.Parameter(self.packed, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.packed is None or (x.dtype == torch.float32 and x.shape[:-1].numel() < FEW):
            return super().forward(x)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return out
