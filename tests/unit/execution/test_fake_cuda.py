"""Without a GPU, fake tensors show what a method would ask of the host: all kinds of waiting, and nothing that is
harmless."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from harness.conformance.fake_cuda import asked_by


class On:
    """Tensors on the device, as a method has them."""

    def __init__(self) -> None:
        self.x = torch.zeros(3, 5, device="cuda")
        self.square = torch.zeros(5, 5, device="cuda")
        self.index = torch.zeros(3, dtype=torch.int64, device="cuda")
        self.mask = torch.zeros(3, 5, dtype=torch.bool, device="cuda")


def asked(work: Callable[[On], object]) -> list[str]:
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        on = On()
        return asked_by(lambda: work(on))


def put(x: Tensor, place: Any, value: Any) -> None:
    x[place] = value


WAITING: dict[str, Callable[[On], object]] = {
    "item": lambda on: on.x[0, 0].item(),
    "tolist": lambda on: on.index.tolist(),
    "bool": lambda on: bool(on.mask.any()),
    "equal": lambda on: torch.equal(on.x, on.x),
    "allclose": lambda on: torch.allclose(on.x, on.x),
    "nonzero": lambda on: on.x.nonzero(),
    "where with one argument": lambda on: torch.where(on.mask),
    "argwhere": lambda on: torch.argwhere(on.mask),
    "masked_select": lambda on: on.x.masked_select(on.mask),
    "a mask that selects": lambda on: on.x[on.mask],
    "a mask of rows that selects": lambda on: on.x[on.mask[:, 0]],
    "a mask of bytes": lambda on: on.x[on.mask.to(torch.uint8)],
    "a mask that is assigned to": lambda on: put(on.x, on.mask, torch.ones(15, device="cuda")),
    "a mask beside an index": lambda on: put(on.x, (on.mask[:, 0], on.index), 1.0),
    "a mask that adds": lambda on: on.x.index_put_((on.mask,), torch.tensor(1.0), accumulate=True),
    "unique": lambda on: torch.unique(on.index),
    "unique of rows": lambda on: torch.unique(on.x, dim=0),
    "unique_consecutive": lambda on: torch.unique_consecutive(on.index),
    "bincount": lambda on: torch.bincount(on.index),
    "repeat_interleave": lambda on: torch.repeat_interleave(on.x, on.index, 0),
    "one_hot of any number": lambda on: F.one_hot(on.index),
    "histc without borders": lambda on: torch.histc(on.x, 4),
    "multinomial": lambda on: torch.multinomial(on.x, 1),
    "normal": lambda on: torch.normal(on.x, on.x),
    "inv": lambda on: torch.linalg.inv(on.square),
    "cholesky": lambda on: torch.linalg.cholesky(on.square),
    "solve": lambda on: torch.linalg.solve(on.square, on.square),
    "eigh": lambda on: torch.linalg.eigh(on.square),
    "svd": lambda on: torch.linalg.svd(on.square),
    "rows of limited norm": lambda on: F.embedding(on.index, on.square, max_norm=1.0),
    "a slice of a length that is computed": lambda on: on.x[:, : on.index[0]],
}

COPYING: dict[str, Callable[[On], object]] = {
    "to the host": lambda on: on.x.cpu(),
    "numpy": lambda on: on.x.numpy(),
    "from the host": lambda on: torch.zeros(3).to("cuda"),
    "a number to the device": lambda on: torch.tensor(2.0).to("cuda"),
    "a list to the device": lambda on: torch.tensor([1, 2], device="cuda"),
    "an index of the host": lambda on: on.x[torch.tensor([0, 1])],
    "an operand of the host": lambda on: on.x + torch.zeros(5),
    "a value at an index": lambda on: put(on.x, on.index, 1.0),
    "a number for where": lambda on: torch.where(on.mask, on.x, torch.tensor(0.0)),
    "copy_": lambda on: on.x[0, 0].copy_(torch.tensor(1.0)),
}

HARMLESS: dict[str, Callable[[On], object]] = {
    "a number of the host": lambda on: on.x * torch.tensor(2.0),
    "a number in a slice": lambda on: put(on.x, (slice(None), 0), 1.0),
    "a number where a mask is": lambda on: put(on.x, on.mask, 1.0),
    "masked_fill": lambda on: on.x.masked_fill(on.mask, float("-inf")),
    "where": lambda on: torch.where(on.mask, on.x, 0.0),
    "clamp": lambda on: on.x.clamp(torch.tensor(0.0), torch.tensor(1.0)),
    "an index of the device": lambda on: on.x[on.index],
    "a tensor in place": lambda on: put(on.x, on.index, torch.ones(5, device="cuda")),
    "one_hot": lambda on: F.one_hot(on.index, 5),
    "repeat_interleave of a length": lambda on: torch.repeat_interleave(on.x, on.index, 0, output_size=3),
    "histc with borders": lambda on: torch.histc(on.x, 4, min=0, max=1),
    "arange": lambda on: on.x + torch.arange(5, device="cuda"),
    "the host on its own": lambda on: [on.x * float(one) for one in torch.linspace(0, 1, 3)],
    "a length that the host computes": lambda on: on.x[:, : int((torch.ones(3).cumsum(0) / 2).ceil()[1])],
    "unique on the host": lambda on: on.x[:, : len(torch.unique(torch.tensor([1, 1, 2])))],
    "a factorisation that is not checked": lambda on: torch.linalg.inv_ex(on.square),
    "sort": lambda on: on.x.sort(-1),
    "scatter": lambda on: on.x.scatter(1, on.index[:, None], 1.0),
    "attention": lambda on: F.scaled_dot_product_attention(on.x[None], on.x[None], on.x[None]),
}


@pytest.mark.parametrize("what", WAITING)
def test_what_makes_the_host_wait_is_noted(what: str) -> None:
    assert asked(WAITING[what])


@pytest.mark.parametrize("what", COPYING)
def test_what_copies_between_host_and_device_is_noted(what: str) -> None:
    assert asked(COPYING[what])


@pytest.mark.parametrize("what", HARMLESS)
def test_what_a_graph_can_capture_is_not_noted(what: str) -> None:
    assert asked(HARMLESS[what]) == []


def test_tables_that_the_first_batch_makes_are_not_noted() -> None:
    kept: list[Tensor] = []

    def work(on: On) -> Tensor:
        if not kept:
            kept.append(torch.tensor([1, 2]).to("cuda"))
        return on.x[kept[0]]

    assert asked(work) == []
