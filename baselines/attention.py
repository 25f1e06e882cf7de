"""Attention as every network here computes it."""

from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """softmax(q k' * scale + bias) v; q [B, n, h, d], k and v [B, m, h, d], bias broadcast to [B, h, n, m] -> [B, n, h
    d].

    Explicit products: for short sequences on a CPU they train faster than torch's fused attention, and every counter of
    FLOPs sees them.
    """
    scores = (q.transpose(1, 2) * scale) @ k.permute(0, 2, 3, 1)
    if bias is not None:
        scores = scores + bias
    return (scores.softmax(-1) @ v.transpose(1, 2)).transpose(1, 2).flatten(2)
