"""Attention as every network here computes it."""

from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """softmax(q k' * scale + bias) v; q [B, h, n, d], k and v [B, h, m, d], bias broadcast to [B, h, n, m] -> [B, n, h
    * d].

    Explicit products: for short sequences on a CPU they train faster than torch's fused attention and sample as fast,
    and every counter of FLOPs sees them.
    """
    scores = (q * scale) @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
