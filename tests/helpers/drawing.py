"""Draws of tokens by the definition, to hold ``harness.sampling.draw`` against.

This is the draw of commit f4749ea, written out. It shares no code with ``harness.sampling``, so a fault there cannot
hide in both. Only sorting differs from that commit: equal logits keep their order, as they did on a CPU.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.sampling import Sampling

BLOCK = 16


def written_out(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """Draw one token per row: sort all logits, drop what top-k and top-p drop, and find the place by inverse CDF.

    logits: [..., V]; uniform: [...] in [0, 1). Returns int64 [...].
    """
    logits = logits.float()
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    size = logits.shape[-1]
    if 0 < sampling.top_k < size:
        kth = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    if sampling.top_p < 1:
        ordered, index = logits.sort(dim=-1, descending=True, stable=True)
        mass = ordered.double().softmax(-1)
        drop = mass.cumsum(-1) - mass >= sampling.top_p
        logits = logits.masked_fill(drop.scatter(-1, index, drop), -torch.inf)
    return _located((logits - logits.amax(-1, keepdim=True)).exp(), uniform)


def _located(weights: Tensor, uniform: Tensor) -> Tensor:
    """The first entry at which the running sum of ``weights`` [..., V] exceeds ``uniform`` [...] times the whole sum:
    first the block of 16 entries, and then the entry in it."""
    size = weights.shape[-1]
    whole = F.pad(weights, (0, -size % BLOCK))
    blocks = whole.unflatten(-1, (-1, BLOCK))
    ends = blocks.sum(-1).cumsum(-1, dtype=torch.float64)
    target = uniform.double()[..., None] * ends[..., -1:]
    block = torch.searchsorted(ends, target, right=True).clamp(max=ends.shape[-1] - 1)
    start = ends.gather(-1, (block - 1).clamp(min=0)).masked_fill(block == 0, 0.0)
    share = (target - start) / (ends.gather(-1, block) - start)
    inside = blocks.take_along_dim(block[..., None], -2)[..., 0, :].cumsum(-1, dtype=torch.float64)
    place = torch.searchsorted(inside, share * inside[..., -1:], right=True).clamp(max=BLOCK - 1)
    return (BLOCK * block + place)[..., 0].clamp(max=size - 1)
