"""Attention as every network here computes it."""

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """softmax(q k' * scale + bias) v; q [B, h, n, d], k and v [B, h, m, d], bias broadcast to [B, h, n, m] -> [B, n, h
    * d].

    By explicit products or by torch's fused attention, whichever is the faster here.
    """
    if _fused(q, k):
        out = F.scaled_dot_product_attention(q, k, v, bias, scale=scale)
    else:
        scores = (q * scale) @ k.transpose(-1, -2)
        if bias is not None:
            scores = scores + bias
        out = scores.softmax(-1) @ v
    return out.transpose(1, 2).flatten(2)


def _fused(q: Tensor, k: Tensor) -> bool:
    """On a CPU, fused attention's backward is slow, and its forward pays only where the scores of a batch no longer fit
    the cache and the keys fill its blocks: 26 ms against 34 at [500, 4, 37, 104], but 13 against 10 at [500, 4, 13, 55]
    (one thread). The batch has no say, or an image would depend on it in the last bits."""
    if q.device.type != "cpu":
        return True
    return not torch.is_grad_enabled() and q.shape[2] * k.shape[2] >= 2048
