"""Draws of tokens by the definition, to hold ``harness.sampling.draw`` against."""

import torch
from torch import Tensor

from harness.sampling import Sampling, draw


def written_out(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """The draw by the definition: sort everything, equal logits by place, drop, send back."""
    size = logits.shape[-1]
    if 0 < sampling.top_k < size:
        kth = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    ordered, index = logits.sort(dim=-1, descending=True, stable=True)
    mass = ordered.double().softmax(-1)
    drop = mass.cumsum(-1) - mass >= sampling.top_p
    kept = logits.masked_fill(drop.scatter(-1, index, drop), -torch.inf)
    return draw(kept, uniform, Sampling())
