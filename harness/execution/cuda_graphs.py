"""CUDA graphs: the work of a GPU is recorded once, and replayed without the host that chose its kernels.

This module is what talks to CUDA; ``graphs`` says what is recorded. It is written for torch 2.11 to 2.14.

A graph holds addresses and not tensors. The tensors that its work makes lie in a pool of memory, which all graphs of a
device share while they exist. Whoever holds a replay has to hold all other tensors that the work reads and writes.
"""

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import cuda

from harness.errors import ArbenchError

WARMUPS = 2
"""Work runs this often before it is captured. The first runs make tables and choose kernels, which a graph may not."""

EMPTY = "The CUDA Graph is empty"
"""The beginning of torch's warning about a graph without work."""

T = TypeVar("T")


class CudaGraphs:
    """Records functions as CUDA graphs on one device (``harness.execution.graphs.Recorder``)."""

    def __init__(self, device: torch.device) -> None:
        """Raises ArbenchError if the device has no CUDA graphs."""
        if device.type != "cuda":
            raise ArbenchError(f"a CUDA graph was asked for, and the method is on {str(device)!r} (valid: cuda)")
        self._device = device

    def __call__(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Record a function. Errors of the runs before the capture are those of the function.

        Raises ArbenchError, which names what else can be done, if the function runs but cannot be captured.
        """
        with cuda.device(self._device):
            usual, stream = cuda.current_stream(), _stream(self._device)
            try:
                stream.wait_stream(usual)
                with cuda.stream(stream):
                    for _ in range(WARMUPS):
                        function()
                usual.wait_stream(stream)
                memory = _memory_of(self._device)
                graph, made = memory.captured(function)
            finally:  # a capture that fails leaves its own stream as the current one
                cuda.set_stream(usual)
            return _Replay(graph, memory), made


class _Memory:
    """The pool of memory that the graphs of a device share.

    Only one graph runs at a time, and what it returns is copied before the next one runs. So the pool is as large as
    the largest graph needs, and not as large as all of them together. What lies outside of it is not shared: weights,
    and the state of each loop with its cache (docs/gpu.md says how much that is). The pool exists as long as one of its
    graphs does: each of them holds this object.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._pool = device, cuda.graph_pool_handle()
        # torch refuses a pool whose graphs are all gone while something still lies in it. This graph is always there.
        still = torch.zeros(1, device=device)
        self._anchor = self.captured(still.zero_)[0], still

    def captured(self, function: Callable[[], T]) -> tuple[Any, T]:
        """The graph of a function, and what the function returned while it was captured."""
        graph = cuda.CUDAGraph()
        fault: Exception | None = None
        _forget_workspaces()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", EMPTY)
                with cuda.graph(graph, pool=self._pool, stream=_stream(self._device)):
                    try:
                        made = function()
                    except Exception as error:  # the end of the capture raises another error, which says less
                        fault = error
                        raise
        except BaseException as error:
            self._give_up(graph)
            if not isinstance(error, Exception):
                raise
            raise _refused(fault or error) from error
        finally:
            _forget_workspaces()
        return graph, made

    def _give_up(self, graph: Any) -> None:
        """Nothing more is captured into this pool: torch may take it for one that is still being recorded to."""
        _memories.pop(self._device, None)
        with contextlib.suppress(Exception):
            graph.reset()
        # Up to torch 2.12, the allocator asks a graph whose capture failed about each later allocation.
        _failed.append(graph)


@dataclass(frozen=True)
class _Replay:
    """Replays a graph on the current stream of its device."""

    graph: Any
    memory: _Memory  # held, because the graph's tensors lie in it

    def __call__(self) -> None:
        self.graph.replay()


_memories: WeakValueDictionary[torch.device, _Memory] = WeakValueDictionary()
_failed: list[Any] = []


def _memory_of(device: torch.device) -> _Memory:
    """The memory of the graphs that exist on a device; new memory if there are none."""
    memory = _memories.get(device)
    if memory is None:
        memory = _memories[device] = _Memory(device)
    return memory


@cache
def _stream(device: torch.device) -> Any:
    """The stream on which a device warms up and captures. Memory is shared only between captures on one stream."""
    return cuda.Stream(device)


def _forget_workspaces() -> None:
    """Frees the memory that cuBLAS keeps for each stream; it is made anew when it is needed.

    Done before a capture, so that this memory lies in the graphs' pool, which lives as long as they do. From torch 2.12
    on, a graph that is destroyed frees the memory of its whole stream, also where other graphs use it. Done after a
    capture, so that there is nothing left to free.
    """
    torch._C._cuda_clearCublasWorkspaces()  # documented in torch's notes on CUDA semantics


def _refused(error: Exception) -> ArbenchError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return ArbenchError(
        f"cannot be captured in a CUDA graph ({reason}). Two ways out: captures() of the method returns False, so that "
        f'it alone runs as it is; or capture = "off" in [timing], so that all methods do'
    )
