"""Work that is captured once and replayed. The tensors that a replay reads and writes stay in place."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from harness.errors import ArbenchError
from harness.execution.cuda_graphs import CudaGraphs
from harness.execution.work import Work
from harness.machine import devices
from harness.method import Generated, Loop

T = TypeVar("T")


class Recorder(Protocol):
    """Records what a function does. Returns a function that does it again, and what the function returned: tensors into
    which every replay writes.

    The recording keeps alive what the function made while it was recorded, and nothing else. Whoever replays it has to
    hold all other tensors that the function reads and writes.
    """

    def __call__(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """function: writes only into tensors that stay in place, or that it returns."""


class Captured:
    """Sampling and decoding, captured for batches of one size.

    Work that is a loop is captured step by step: one recording for each kind of step. Other work is captured whole.
    """

    def __init__(self, work: Work, labels: Tensor, noise: Tensor, record: Recorder | None = None) -> None:
        """labels, noise: of any batch of the size that is captured, on one device.
        record: None records CUDA graphs on that device.

        Raises ArbenchError if tensors lie on another device, or if the work cannot be captured.
        """
        self._device = labels.device
        record = record or CudaGraphs(self._device)
        self._here({"the noise": noise})
        with devices.current(self._device), torch.inference_mode():
            self._labels, self._noise = labels.clone(), noise.clone()
            loop = work.loop(self._labels, self._noise)
            # A recording does not keep these alive: the weights, the tables, and the state of a loop with its cache.
            self._owned = work, loop
            if loop is None:
                replay, self._made = record(partial(work.sample, self._labels, self._noise))
                self._replays = [replay]
            else:
                self._replays, self._made = _recorded(loop, record)
            self._here({"what sample() gives as tokens": self._made.tokens, "as steps": self._made.steps})
            self._tokens = torch.zeros_like(self._made.tokens)
            self._decode, self._images = record(partial(work.decode, self._tokens))
            self._here({"what decode() gives": self._images})

    @torch.inference_mode()
    def sample(self, labels: Tensor, noise: Tensor) -> Generated:
        """Sample a batch of the captured size."""
        with devices.current(self._device):
            self._labels.copy_(labels)
            self._noise.copy_(noise)
            for replay in self._replays:
                replay()
            return Generated(self._made.tokens.clone(), self._made.steps.clone())

    @torch.inference_mode()
    def decode(self, tokens: Tensor) -> Tensor:
        """Decode a batch of the captured size."""
        with devices.current(self._device):
            self._tokens.copy_(tokens)
            self._decode()
            return self._images.clone()

    def _here(self, tensors: dict[str, Tensor]) -> None:
        """ArbenchError if a tensor lies on another device. A replay would not read it, or not write it."""
        for name, tensor in tensors.items():
            if tensor.device != self._device:
                raise ArbenchError(f"captured on {self._device}, but {name} is on {tensor.device}")


def _recorded(loop: Loop, record: Recorder) -> tuple[list[Callable[[], None]], Generated]:
    """The replays of a loop's steps, in order, and the result that the last replay writes."""
    begin, _ = record(loop.begin)
    steps = {kind: record(partial(loop.step, kind))[0] for kind in dict.fromkeys(loop.kinds)}
    end, made = record(loop.result)
    return [begin, *(steps[kind] for kind in loop.kinds), end], made
