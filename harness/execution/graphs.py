"""Work that is captured once and replayed. The tensors that a replay reads and writes stay in place."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from harness.execution.work import Work
from harness.method import Generated, Loop

WARMUPS = 2
"""Work runs this often before it is captured. The first runs make tables and choose kernels, which a graph may not."""

T = TypeVar("T")


class Recorder(Protocol):
    """Records what a function does. Returns a function that does it again, and what the function returned: tensors into
    which every replay writes."""

    def __call__(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """function: writes only into tensors that stay in place, or that it returns."""


def cuda_graph(function: Callable[[], T]) -> tuple[Callable[[], None], T]:
    """Record a function as a CUDA graph, on the current device."""
    # As torch's documentation asks: the runs before the capture go on a stream of their own.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARMUPS):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=_pool(torch.cuda.current_device())):
        made = function()
    return graph.replay, made


@cache
def _pool(device: int) -> Any:
    """The memory that all graphs of a device share. Only one graph runs at a time, and what it returns is copied before
    the next one runs. A sweep of many cases therefore needs the memory of its largest case only."""
    return torch.cuda.graph_pool_handle()


class Captured:
    """Sampling and decoding, captured for batches of one size.

    Work that is a loop is captured step by step: one recording for each kind of step. Other work is captured whole.
    """

    def __init__(self, work: Work, labels: Tensor, noise: Tensor, record: Recorder = cuda_graph) -> None:
        """labels, noise: of any batch of the size that is captured."""
        self._labels, self._noise = labels.clone(), noise.clone()
        with torch.inference_mode():
            loop = work.loop(self._labels, self._noise)
            if loop is None:
                replay, self._made = record(partial(work.sample, self._labels, self._noise))
                self._replays = [replay]
            else:
                self._replays, self._made = _recorded(loop, record)
            self._tokens = torch.zeros_like(self._made.tokens)
            self._decode, self._images = record(partial(work.decode, self._tokens))

    @torch.inference_mode()
    def sample(self, labels: Tensor, noise: Tensor) -> Generated:
        """Sample a batch of the captured size."""
        self._labels.copy_(labels)
        self._noise.copy_(noise)
        for replay in self._replays:
            replay()
        return Generated(self._made.tokens.clone(), self._made.steps.clone())

    @torch.inference_mode()
    def decode(self, tokens: Tensor) -> Tensor:
        """Decode a batch of the captured size."""
        self._tokens.copy_(tokens)
        self._decode()
        return self._images.clone()


def _recorded(loop: Loop, record: Recorder) -> tuple[list[Callable[[], None]], Generated]:
    """The replays of a loop's steps, in order, and the result that the last replay writes."""
    begin, _ = record(loop.begin)
    steps = {kind: record(partial(loop.step, kind))[0] for kind in dict.fromkeys(loop.kinds)}
    end, made = record(loop.result)
    return [begin, *(steps[kind] for kind in loop.kinds), end], made
