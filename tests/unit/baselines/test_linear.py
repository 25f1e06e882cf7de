"""Weights packed for a CPU: the same products, counted the same."""

import pytest
import torch

from baselines.linear import FEW, LARGE, ONEDNN, Linear
from harness.stages.flops.counter import ExecutedCounter

SIDE = int(LARGE**0.5) + 1


def layer(side: int, dtype: torch.dtype = torch.float32) -> Linear:
    """A square layer with random weights."""
    torch.manual_seed(0)
    return Linear(side, side, bias=False).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, FEW - 1, FEW, 40])
@torch.inference_mode()
def test_packed_weights_give_the_same_products(rows: int, dtype: torch.dtype) -> None:
    plain, packed = layer(SIDE, dtype), layer(SIDE, dtype)
    packed.pack()
    fast = dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()  # not every processor's bf16 is
    assert (packed.packed is not None) == (ONEDNN and fast)
    x = torch.randn(2, rows, SIDE, dtype=dtype)
    for given in (x[:1], x):
        expected, found = plain(given).float(), packed(given).float()
        assert (found - expected).abs().max() <= (1e-5 if dtype == torch.float32 else 0.02)


@torch.inference_mode()
def test_packed_products_are_counted_like_others() -> None:
    counts = []
    for pack in (False, True):
        one = layer(SIDE)
        if pack:
            one.pack()
        with ExecutedCounter(one, "ffn") as counter:
            one(torch.randn(3, FEW, SIDE))
        counts.append(counter.count.macs)
    assert counts == [3 * FEW * SIDE * SIDE] * 2


def test_small_weights_are_left_as_they_are() -> None:
    small = layer(64)
    small.pack()
    assert small.packed is None
