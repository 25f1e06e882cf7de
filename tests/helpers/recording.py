"""CUDA graphs in miniature: a recorder that replays operations on the tensors of the first run, without the Python that
chose them. What that Python took from values is baked in, as it is in a graph.

As a graph does, a recording keeps the memory that was made while it was recorded, and only the address of other memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from harness.conformance.fake_cuda import waits

T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    """Where a tensor lies. It does not keep the memory alive."""

    storage: StorageWeakRef
    dtype: torch.dtype
    place: tuple[Any, ...]  # offset, sizes and strides

    def tensor(self) -> Tensor:
        """The tensor. RuntimeError if its memory was freed; a GPU would read what lies there now."""
        storage = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        if storage is None:
            raise RuntimeError("illegal memory access: a replay reads or writes memory that was freed")
        return torch.empty(0, dtype=self.dtype).set_(storage, *self.place)


class Operations(TorchDispatchMode):
    """Notes every operation with its arguments and what it returned."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noted: list[tuple[Any, Any, Any, Any]] = []
        self._outside: dict[int, StorageWeakRef] = {}
        self._inside: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if waits(func, args, kwargs or {}):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        if func._schema.name == "aten::lift_fresh":  # a constant, which Python has just made
            self._inside |= {key for one in args if (key := _key(one)) is not None}
        before = tree_map(self._kept, (args, kwargs or {}))
        made = func(*args, **(kwargs or {}))
        known = self._outside.keys() | self._inside
        self._inside |= {key for one in tree_leaves(made) if (key := _key(one)) is not None and key not in known}
        self.noted.append((func, *before, tree_map(self._kept, made)))
        return made

    def _kept(self, value: Any) -> Any:
        """A tensor that was made inside, or the address of one that was not; any other value as it is."""
        key = _key(value)
        if key is None or key in self._inside:
            return value
        known = self._outside.setdefault(key, StorageWeakRef(value.untyped_storage()))
        return Address(known, value.dtype, (value.storage_offset(), value.size(), value.stride()))


def _key(value: Any) -> int | None:
    return value.untyped_storage()._cdata if isinstance(value, Tensor) else None


def _there(value: Any) -> Any:
    return value.tensor() if isinstance(value, Address) else value


def recording(function: Callable[[], T]) -> tuple[Callable[[], None], T]:
    """A recorder (harness.execution.graphs.Recorder) that needs no GPU."""
    function()  # a first run, which may make tables
    with Operations() as operations:
        made = function()
    noted = operations.noted

    def replay() -> None:
        with torch.inference_mode():
            for func, args, kwargs, old in noted:
                new = func(*tree_map(_there, args), **tree_map(_there, kwargs))
                for kept, fresh in zip(tree_leaves(tree_map(_there, old)), tree_leaves(new), strict=True):
                    if isinstance(kept, Tensor) and kept.data_ptr() != fresh.data_ptr():
                        kept.copy_(fresh)

    return replay, made
