"""torch.cuda in miniature, as far as harness.execution.cuda_graphs uses it: it has the faults of torch's own allocator.

Functions run on CPU tensors. What a graph replays is counted and not computed (tests/helpers/recording.py does that).
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class FakeStream:
    """A stream of a device."""

    def __init__(self, device: torch.device, name: str = "side") -> None:
        self.device, self.name, self.waited = device, name, list[Any]()

    def wait_stream(self, other: "FakeStream") -> None:
        self.waited.append(other)


class Graph:
    """A graph."""

    def __init__(self) -> None:
        self.pool: int | None = None
        self.cuda: FakeCuda | None = None
        self.replays = 0

    def replay(self) -> None:
        assert self.cuda is not None
        self.replays += 1
        self.cuda.replayed.append(self)

    def reset(self) -> None:
        if self.pool is not None and self.cuda is not None:
            self.cuda.users[self.pool] -= 1
            self.cuda.freed.append(self.pool)
            if self.cuda.workspace == self.pool:
                self.cuda.faults.append("a workspace was freed that other graphs may use")
            self.pool = None

    def __del__(self) -> None:
        self.reset()


class FakeCuda:
    """Stands in place of ``torch.cuda``, on a machine of several devices."""

    CUDAGraph, Stream = Graph, FakeStream

    def __init__(self) -> None:
        self.now = torch.device("cuda", 0)
        self.streams = {index: FakeStream(torch.device("cuda", index), "usual") for index in range(4)}
        self.users: dict[int, int] = {}  # pool -> graphs that use it
        self.recording: set[int] = set()  # pools to which a capture records
        self.captures: list[tuple[torch.device, FakeStream, int]] = []
        self.warmed: list[FakeStream] = []
        self.replayed: list[Graph] = []
        self.freed: list[int] = []
        self.faults: list[str] = []
        self.workspace: int | None = None  # the pool in which cuBLAS' memory lies
        self.empty = False  # whether the next capture has no work in it
        self.handles = 0

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self.now = self.now, device
        try:
            yield
        finally:
            self.now = before

    def current_stream(self) -> FakeStream:
        return self.streams[self.now.index]

    def set_stream(self, stream: FakeStream) -> None:
        self.streams[stream.device.index] = stream

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before = self.current_stream()
        self.set_stream(stream)
        self.warmed.append(stream)
        try:
            yield
        finally:
            self.set_stream(before)

    def graph_pool_handle(self) -> int:
        self.handles += 1
        return self.handles

    @contextmanager
    def graph(self, graph: Graph, pool: int, stream: FakeStream) -> Iterator[None]:
        if pool in self.recording:
            raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
        if self.users.get(pool) == 0:
            raise RuntimeError("it->second->use_count > 0 INTERNAL ASSERT FAILED")
        before = self.current_stream()
        self.set_stream(stream)
        self.recording.add(pool)
        try:
            yield
        except Exception as error:  # as torch up to 2.12: the pool is not given back, nor the stream
            raise RuntimeError("operation failed due to a previous error during capture") from error
        self.recording.discard(pool)
        self.users[pool] = self.users.get(pool, 0) + 1
        graph.pool, graph.cuda = pool, self
        self.captures.append((self.now, stream, pool))
        if self.empty:
            warnings.warn("The CUDA Graph is empty. This usually means that ...", stacklevel=2)
        self.set_stream(before)

    def forget_workspaces(self) -> None:
        self.workspace = None
