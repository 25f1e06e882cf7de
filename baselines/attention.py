"""Attention as every network here computes it."""

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """softmax(q k' * scale + bias) v, as [B, n, h * d].

    q: [B, h, n, d]; k, v: [B, h, m, d]; bias: broadcast to [B, h, n, m]. There are two ways to compute this: explicit
    products and torch's fused attention. The function takes the way that is faster on this device and at these sizes.
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
    """Whether torch's fused attention is faster than explicit products."""
    if q.device.type != "cpu":
        return True
    # On a CPU the backward pass of fused attention is slow. Its forward pass pays only if the scores of a batch no
    # longer fit the cache and the keys fill its blocks: 26 ms against 34 at [500, 4, 37, 104], but 13 against 10 at
    # [500, 4, 13, 55] (one thread). The batch size must not decide: the last bits of an image would depend on it.
    return not torch.is_grad_enabled() and q.shape[2] * k.shape[2] >= 2048
