"""CUDA graphs in miniature: a recorder that replays operations on the tensors of the first run, without the Python that
chose them. What that Python took from values is baked in, as it is in a graph."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.conformance.fake_cuda import waits

T = TypeVar("T")


class Operations(TorchDispatchMode):
    """Notes every operation with its arguments and what it returned."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noted: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if waits(func, args, kwargs or {}):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        made = func(*args, **(kwargs or {}))
        self.noted.append((func, args, kwargs or {}, made))
        return made


def recording(function: Callable[[], T]) -> tuple[Callable[[], None], T]:
    """A recorder (harness.execution.graphs.Recorder) that needs no GPU."""
    function()  # a first run, which may make tables
    with Operations() as operations:
        made = function()

    def replay() -> None:
        with torch.inference_mode():
            for func, args, kwargs, old in operations.noted:
                new = func(*args, **kwargs)
                for kept, fresh in zip(tree_leaves(old), tree_leaves(new), strict=True):
                    if isinstance(kept, Tensor) and kept.data_ptr() != fresh.data_ptr():
                        kept.copy_(fresh)

    return replay, made
