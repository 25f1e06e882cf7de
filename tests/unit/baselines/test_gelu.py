"""GELU by a sigmoid on CPUs, and FFNs a part of their rows at a time."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.gelu import ROWS, by_rows, gelu
from baselines.var import FFN


def exact(x: Tensor) -> Tensor:
    return F.gelu(x.double(), approximate="tanh")


def test_without_gradients_it_is_the_tanh_approximation_to_the_last_bits() -> None:
    x = torch.cat([torch.linspace(-12, 12, 20_001), torch.tensor([0.0, 1e-30, -1e4, 1e4])])
    given = x.clone()
    with torch.inference_mode():
        found = gelu(x)
    assert (found - exact(x)).abs().le(2e-6 * x.abs().clamp(min=1)).all()
    assert torch.equal(x, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_with_gradients_or_in_bf16_it_is_torchs_own(dtype: torch.dtype) -> None:
    x = torch.randn(100, dtype=dtype, requires_grad=True)
    assert torch.equal(gelu(x), F.gelu(x, approximate="tanh"))
    gelu(x).sum().backward()
    assert x.grad is not None
    if dtype == torch.bfloat16:
        with torch.inference_mode():
            assert torch.equal(gelu(x), F.gelu(x, approximate="tanh"))


@pytest.mark.parametrize("rows", [1, ROWS, ROWS + 1, 3 * ROWS + 5])
def test_rows_are_computed_in_parts_that_are_alike_and_come_back_in_their_places(rows: int) -> None:
    sizes = []

    def told(part: Tensor) -> Tensor:
        sizes.append(len(part.flatten(0, -2)))
        return part[..., :3] * 2

    x = torch.randn(1, rows, 5)
    with torch.inference_mode():
        assert torch.equal(by_rows(told, x), x[..., :3] * 2)
    assert sum(sizes) == rows
    assert max(sizes) <= ROWS
    assert max(sizes) - min(sizes) <= 1


def test_an_ffn_gives_a_row_the_same_whether_its_batch_is_cut_or_not() -> None:
    torch.manual_seed(0)
    ffn, x = FFN(96, 384), torch.randn(50, 49, 96)
    with torch.inference_mode():
        assert torch.equal(ffn(x)[:1], ffn(x[:1]))
        assert (ffn(x) - ffn.fc2(F.gelu(ffn.fc1(x), approximate="tanh"))).abs().max() < 1e-5
    with torch.no_grad():
        by_hand = (exact(x @ ffn.fc1.weight.T + ffn.fc1.bias).float()) @ ffn.fc2.weight.T + ffn.fc2.bias
        assert torch.allclose(ffn(x), by_hand, atol=1e-5)
