"""Traces record how images are generated, and pages of a report show the traces. A trace says at which step each
position of an image was decided, and what was computed for the position.

Traces are optional. They change neither the images of a trial, nor its measured values, nor its key (the hash of its
settings, weights and code). A trace is made if the method defines ``Method.grids``. The method's schedule gives the
steps. While sampling, the method can report more with the functions ``tell_order``, ``tell_tokens`` and
``tell_experts``. Reports are recorded only for the first IMAGES images of a trial, while the trial's first shard is
made. (A shard is a file for a range of the trial's images.) At any other time, these functions only read one variable
and cost almost nothing.

A trace of n images consists of these arrays, whose names all begin with TRACE:
    ``grids``    int16 [g]: sides of g square grids; positions fill one grid after another, each in raster order
    ``order``    int16 [n, positions]: the step, from 0, at which a position was decided
    ``tokens``   uint8 [n, layers, positions]: 1 where the layer computed the token
    ``experts``  uint32 [n, layers, positions]: bit e is set where the layer computed expert e for the token
    ``experts_of`` int16 []: how many experts there are
The last three arrays exist only if the method reported them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness.method import KnobValue, Method

TRACE = "trace "
IMAGES = 4
"""So many images of a trial are traced: the first ones, which the thumbnails show as well."""
MOST_EXPERTS = 32


@dataclass
class Trace:
    """What a method has reported so far about its first images. Layers are in the order of their first reports."""

    images: int  # number of images that are traced
    order: Tensor | None = None  # as ``tell_order`` reported it; None if the schedule's order holds
    # By layer, the arguments (places, computed) of each call of ``tell_tokens``.
    tokens: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    # By layer, the arguments (places, computed) of each call of ``tell_experts``.
    experts: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def arrays(self, method: Method, knobs: Mapping[str, KnobValue]) -> dict[str, NDArray[Any]]:
        """The trace as arrays; empty if the method does not define ``grids``."""
        grids, positions = method.grids, method.positions
        if not grids:
            return {}
        if self.order is None:
            order = np.empty(positions, np.int16)
            for step, decided in enumerate(method.schedule(knobs)):
                order[decided] = step
            orders = np.tile(order, (self.images, 1))
        else:
            orders = self.order[: self.images].cpu().numpy().astype(np.int16)
        found: dict[str, NDArray[Any]] = {"grids": np.array(grids, np.int16), "order": orders}
        shape = (self.images, max(len(self.tokens), len(self.experts)), positions)
        if self.tokens:
            found["tokens"] = self._filled(np.ones(shape, np.uint8), self.tokens)
        if self.experts:
            count = next(iter(self.experts.values()))[0][1].shape[-1]
            if count <= MOST_EXPERTS:
                whole = np.full(shape, (1 << count) - 1, np.uint32)
                found["experts"] = self._filled(whole, self.experts) * found.get("tokens", np.ones((), np.uint8))
                found["experts_of"] = np.array(count, np.int16)
        return {TRACE + name: values for name, values in found.items()}

    def _filled(self, whole: NDArray[Any], told: Mapping[int, list[tuple[Tensor, Tensor]]]) -> NDArray[Any]:
        """Writes the reports of each layer into ``whole`` [n, layers, positions], at the positions that the reports
        name, and returns ``whole``."""
        rows = np.arange(self.images)[:, None]
        for layer, parts in enumerate(told.values()):
            for places, values in parts:
                at = places.expand(len(values), -1).cpu().numpy()
                bits = values.cpu().numpy()
                if bits.ndim == 3:
                    bits = (bits * (1 << np.arange(bits.shape[2], dtype=np.int64))).sum(2)
                whole[rows, layer, at] = bits
        return whole


_heard: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def listening(images: int) -> Iterator[Trace]:
    """Record what methods report inside the ``with``, for the first ``images`` images of the batch."""
    trace = Trace(images)
    token = _heard.set(trace)
    try:
        yield trace
    finally:
        _heard.reset(token)


def heard() -> bool:
    """Whether reports are being recorded. If a report takes work to prepare, a method calls this first, and skips the
    work if nothing is recorded."""
    return _heard.get() is not None


def tell_order(steps: Tensor) -> None:
    """Report an order that differs from the schedule's order.

    steps: int64 [B, positions], the step at which each position of each image was decided.
    """
    trace = _heard.get()
    if trace is not None:
        trace.order = steps


def tell_tokens(layer: object, places: Tensor, computed: Tensor) -> None:
    """Report which tokens a layer computed.

    layer: any object that stands for this layer alone.
    places: [n] or [B, n], positions in the sequence.
    computed: bool [B, n], one row for each image of the batch. With guidance, a method can pass 2 B rows: first the
        B rows of the conditional branch, then the B rows of the unconditional branch. Only rows of the conditional
        branch are recorded.
    """
    trace = _heard.get()
    if trace is not None:
        trace.tokens.setdefault(id(layer), []).append(_first(trace.images, places, computed))


def tell_experts(layer: object, places: Tensor, computed: Tensor) -> None:
    """Report which experts a layer computed for each token. The arguments are those of ``tell_tokens``, except that
    ``computed`` has one more dimension: bool [B, n, experts]."""
    trace = _heard.get()
    if trace is not None:
        trace.experts.setdefault(id(layer), []).append(_first(trace.images, places, computed))


def _first(images: int, places: Tensor, computed: Tensor) -> tuple[Tensor, Tensor]:
    """The part of a report that is about the first ``images`` images, as a copy. A view would keep the tensors of the
    whole batch in memory."""
    return (places[:images] if places.ndim == 2 else places).clone(), computed[:images].clone()


def kept(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays in ``arrays`` that belong to a trace."""
    return {name: values for name, values in arrays.items() if name.startswith(TRACE)}
