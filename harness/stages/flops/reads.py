"""Counts the bytes that each step of sampling has to read from memory: weights, and keys and values of earlier steps.

The same run gives bytes and multiply-adds: ``ExecutedCounter`` hands every operator to ``Reads``. So a method gets its
bytes without declaring anything.

- Weights are parameters, buffers, and other tensors that modules hold, such as packed weights. Operands of matrix
  products and convolutions that were there before sampling began are weights, too. Every weight counts once a step,
  however often it is read. Of a slice or a selection, only the part that is read counts. An operator that is given all
  experts counts all of them, even if it uses few.
- Keys and values (the KV cache) are tensors that attention reads and that an earlier step has made. What a step itself
  has written is not counted, because it need not come from memory.

Activations are not counted, and neither are embeddings and codebooks that are looked up, nor what draws need.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

READ = (
    "bytes: weights that a step reads, once a step whatever the batch, and keys and values of earlier steps, of both "
    "branches where there is guidance; activations, what is looked up in embeddings and codebooks, and draws count "
    "nothing"
)
"""What counts as a byte that has to be read."""
Identity = int | tuple[str, int]
"""Tells one storage from another. The identity of a tensor without storage is that of the tensor."""

LOOKED_UP = frozenset({"index", "index_select", "gather", "take", "take_along_dim", "_unsafe_index", "masked_select"})
"""Operators that read of a weight no more than they give."""
NOT_COUNTED = frozenset({"embedding", "embedding_bag"})
"""Operators whose weights are not counted: each image reads a few rows."""
COPIES = frozenset({"clone", "_to_copy", "to", "contiguous"})


@dataclass(frozen=True)
class _Made:
    """A storage that was made while the method ran."""

    step: int  # the step for which it was made
    number: int  # tells it from a storage that was freed before and had the same identity


Storage = Identity | _Made


@dataclass
class _Step:
    """What one step has read so far."""

    weights: dict[Storage, dict[Any, int]] = field(default_factory=dict)  # storage -> view -> bytes of the view
    cache: dict[Storage, dict[Any, int]] = field(default_factory=dict)  # the same for keys and values
    written: dict[Storage, int] = field(default_factory=dict)  # bytes that were written before they were read


@dataclass(frozen=True)
class _Signature:
    """What an operator's schema says of its arguments."""

    name: str
    counted: bool  # whether it is a matrix product, a convolution or attention
    attention: bool  # whether it is attention as a whole
    views: bool  # whether it may return a view of an argument
    pointwise: bool
    written: frozenset[str | int]  # the arguments that it writes, by position and by name


_Argument = tuple[str | int, Tensor, Identity]
"""An argument of an operator: its position or name, the tensor, the tensor's identity."""


@dataclass(frozen=True)
class Moment:
    """When an operator runs, and where."""

    step: int  # the step that reads its arguments, from 0
    makes: int  # the step for which it makes its results
    in_attention: Callable[[], bool]  # says whether it belongs to attention; slow, so it is called only if need be


class Reads:
    """Counts bytes while a method runs. ``root`` is the module that contains all others, usually the method."""

    def __init__(self, root: nn.Module) -> None:
        self._sizes: dict[Storage, int] = {}  # bytes of each storage
        self._weights = {_identity(tensor) for tensor in _held(root)}
        self._made: dict[Identity, _Made] = {}
        self._kept: list[Tensor] = []  # weights that no module holds; kept so that no other tensor gets their identity
        self._steps: dict[int, _Step] = {}
        self._number = 0  # how many storages were made

    def weights(self, steps: int) -> list[int]:
        """Bytes of weights that each of ``steps`` steps has read."""
        return [self._total(self._step(step).weights, {}) for step in range(steps)]

    def cache(self, steps: int) -> list[int]:
        """Bytes of keys and values that each of ``steps`` steps has read, without those that it has written."""
        return [self._total(self._step(step).cache, self._step(step).written) for step in range(steps)]

    def saw(
        self,
        operator: Any,
        counted: bool,
        arguments: tuple[Sequence[Any], Mapping[str, Any]],
        out: Any,
        moment: Moment,
    ) -> None:
        """Count what one of torch's operators has read.

        counted: whether the operator has multiply-adds.
        arguments: positional arguments, and arguments by name.
        out: what the operator has returned.
        """
        signature = _signature(operator, counted)
        given = [(place, tensor, _identity(tensor)) for place, tensor in _tensors(*arguments)]
        known = {identity for *_, identity in given}
        results = [(tensor, _identity(tensor)) for tensor in _flat(out)]
        if not results and not signature.written:  # it gives a value, or a fact such as a fake tensor's device
            return
        shared = {identity for _, identity in results if identity in known}
        made = [tensor for tensor, _ in results]
        for place, tensor, identity in given:
            if place in signature.written:
                self._write(signature, tensor, given, moment.step)
            elif not (signature.views and identity in shared):
                self._read(signature, tensor, place, made, moment)
        for _, identity in results:
            if identity not in known:
                self._number += 1
                self._made[identity] = _Made(moment.makes, self._number)

    def _read(
        self, signature: _Signature, tensor: Tensor, place: str | int, made: Sequence[Tensor], moment: Moment
    ) -> None:
        identity, step = _identity(tensor), moment.step
        operand = signature.counted and not signature.attention
        if operand and identity not in self._weights and identity not in self._made:
            self._weights.add(identity)
            self._kept.append(tensor)
        if identity in self._weights:
            if signature.name not in NOT_COUNTED:
                self._add(self._step(step).weights, tensor, identity, _most(signature, made))
            return
        made_before = self._made.get(identity)
        if made_before is None or made_before.step >= step or not self._is_memory(signature, tensor, place, made):
            return
        if signature.attention or moment.in_attention():
            self._add(self._step(step).cache, tensor, made_before, _most(signature, made))

    @staticmethod
    def _is_memory(signature: _Signature, tensor: Tensor, place: str | int, made: Sequence[Tensor]) -> bool:
        """Whether a tensor of an earlier step can be keys or values. Masks are not: they are given to attention after
        the values, or added to scores of another shape."""
        if signature.attention:
            return place in (1, 2, "key", "value")
        if signature.pointwise and signature.name not in COPIES:
            return any(result.shape == tensor.shape for result in made)
        return True

    def _add(self, read: dict[Storage, dict[Any, int]], tensor: Tensor, storage: Storage, most: int | None) -> None:
        view, elements = _view(tensor)
        self._sizes.setdefault(storage, _size(tensor))
        views = read.setdefault(storage, {})
        count = elements if most is None else min(elements, most)
        # Two selections of one weight may take different rows, so they add up (at most to the whole weight).
        key = view if most is None else (view, len(views))
        views[key] = count * tensor.dtype.itemsize

    def _write(self, signature: _Signature, target: Tensor, given: Sequence[_Argument], step: int) -> None:
        storage, so_far = self._made.get(_identity(target)), self._step(step)
        if (
            storage is not None and storage not in so_far.cache
        ):  # what is written after it was read was read all the same
            so_far.written[storage] = so_far.written.get(storage, 0) + _written(signature, target, given)

    def _step(self, step: int) -> _Step:
        return self._steps.setdefault(step, _Step())

    def _total(self, read: Mapping[Storage, Mapping[Any, int]], written: Mapping[Storage, int]) -> int:
        return sum(
            max(0, min(sum(views.values()), self._sizes[storage]) - written.get(storage, 0))
            for storage, views in read.items()
        )


def _held(root: nn.Module) -> Iterator[Tensor]:
    """All tensors that modules hold: parameters, buffers and plain attributes."""
    for module in root.modules():
        for owned in (module._parameters, module._buffers, vars(module)):
            yield from (value for value in owned.values() if isinstance(value, Tensor))


def _identity(tensor: Tensor) -> Identity:
    if tensor.layout is not torch.strided:  # packed weights have no storage that could be shared
        return ("tensor", id(tensor))
    return int(tensor.untyped_storage()._cdata)


def _size(tensor: Tensor) -> int:
    """Bytes of a tensor's storage."""
    strided = tensor.layout is torch.strided
    return tensor.untyped_storage().nbytes() if strided else tensor.numel() * tensor.dtype.itemsize


def _view(tensor: Tensor) -> tuple[Any, int]:
    """(what a tensor covers of its storage, number of elements that it covers).

    Tensors that differ only in the order of their dimensions, or in how dimensions are split, cover the same. Repeated
    elements (stride 0) count once.
    """
    if tensor.layout is not torch.strided:
        return None, tensor.numel()
    pairs = zip(tensor.stride(), tensor.shape, strict=True)
    dims = sorted(((int(stride), int(size)) for stride, size in pairs if size != 1 and stride), reverse=True)
    merged: list[tuple[int, int]] = []
    for stride, size in dims:
        if merged and merged[-1][0] == stride * size:
            merged[-1] = (stride, merged[-1][1] * size)
        else:
            merged.append((stride, size))
    elements = prod(size for _, size in merged) if tensor.numel() else 0
    return (int(tensor.storage_offset()), tuple(merged)), elements


def _most(signature: _Signature, made: Sequence[Tensor]) -> int | None:
    """The most elements that a look-up can have read; None for any other operator."""
    if signature.name not in LOOKED_UP:
        return None
    return max((result.numel() for result in made), default=0)


def _written(signature: _Signature, target: Tensor, given: Sequence[_Argument]) -> int:
    """Bytes that an operator has written to ``target``: what its last argument holds, as in ``scatter_``, and at most
    the whole of ``target``."""
    _, whole = _view(target)
    others = [tensor.numel() for place, tensor, _ in given if place not in signature.written]
    filled = whole if signature.name == "copy_" or not others else min(whole, others[-1])
    return filled * target.dtype.itemsize


def _tensors(arguments: Sequence[Any], named: Mapping[str, Any]) -> Iterator[tuple[str | int, Tensor]]:
    """(place, tensor) of all arguments; place is a position or a name. Tensors of a list have the list's place."""
    places: list[tuple[str | int, Any]] = [*enumerate(arguments), *named.items()]
    for place, value in places:
        for tensor in _flat(value):
            yield place, tensor


def _flat(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _flat(one)


@cache
def _signature(operator: Any, counted: bool) -> _Signature:
    schema = getattr(operator, "_schema", None)
    name = str(getattr(operator, "_overloadpacket", operator)).rpartition(".")[2]
    arguments = () if schema is None else schema.arguments
    returns = () if schema is None else schema.returns
    written: set[str | int] = set()
    for place, argument in enumerate(arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            written |= {argument.name} if argument.kwarg_only else {argument.name, place}
    views = any(one.alias_info is not None and not one.alias_info.is_write for one in returns)
    pointwise = torch.Tag.pointwise in getattr(operator, "tags", ())
    views = views or name == "_unsafe_view"  # its schema does not say that it gives a view
    return _Signature(name, counted, counted and "attention" in name, views, pointwise, frozenset(written))
