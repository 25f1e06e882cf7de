"""Linear layers of the single-scale networks. When these networks sample, a step has few rows. The speed is then
limited by how fast weights are read from memory."""

import torch
from torch import Tensor, nn

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
LARGE = 2**19
"""Packing pays from this many weights on. With fewer weights, oneDNN takes more time for a call than packing saves."""
FEW = 8
"""With fewer rows than this, MKL is faster than oneDNN. Torch uses MKL for plain float32 weights."""


class Linear(nn.Linear):
    """nn.Linear whose weights can be packed for a CPU."""

    # If rows are few, but not very few, torch's own float32 product reads its weights several times. All products of
    # LlamaGen-B take 37 ms at 8 rows, against 24 ms with packed weights; in bf16 18 and 12 ms (two cores).
    packed: Tensor | None = None

    def pack(self) -> None:
        """Store large weights in the layout that oneDNN reads, if oneDNN runs on this processor.

        In float32 the plain weights are kept too, for steps of fewer than FEW rows. In bf16 the plain weights are
        dropped. After that the layer can be neither trained nor saved.
        """
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
