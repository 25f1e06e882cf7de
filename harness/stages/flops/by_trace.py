"""A second, independent count of MACs: fvcore on a trace, with handles for operators that fvcore lacks or miscounts."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import addmm_flop_jit, conv_flop_jit, get_shape, linear_flop_jit
from torch import Tensor, nn

from harness.errors import ArbenchError
from harness.method import KnobValue, Method
from harness.sampling import Sampling
from harness.stages.flops.operators import attention, grouped_product, is_light, matrix_product

Handle = Callable[[list[Any], list[Any]], Any]


def _of(macs: Callable[..., int], first: int, count: int) -> Handle:
    """A handle for fvcore: a function that computes MACs from an operator's inputs. It passes the shapes of ``count``
    inputs to ``macs``, beginning with the input at index ``first``."""

    def handle(inputs: list[Any], outputs: list[Any]) -> int:
        return macs(*(get_shape(value) for value in inputs[first : first + count]))

    return handle


def _einsum(inputs: list[Any], outputs: list[Any]) -> int:
    """MACs of an einsum of two operands: one MAC for each combination of values of the indices. This function is
    used because fvcore's own rule rounds to four digits."""
    equation = inputs[0].toIValue().replace(" ", "")
    terms = equation.split("->")[0].split(",")
    shapes = [get_shape(value) for value in inputs[1].node().inputs()]
    if len(terms) != 2 or "." in equation or any(shape is None for shape in shapes):
        raise ArbenchError(f"FLOPs (fvcore): no rule for einsum {equation!r} (valid: two operands, no ellipsis)")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))  # a size of 1 broadcasts
    return prod(sizes.values())


HANDLES: dict[str, Handle] = {
    "aten::linear": linear_flop_jit,
    "aten::addmm": addmm_flop_jit,
    "aten::_convolution": conv_flop_jit,
    "aten::einsum": _einsum,
    "aten::matmul": _of(matrix_product, 0, 2),  # fvcore's handle under-counts broadcasts and fails on vectors
    "aten::mm": _of(matrix_product, 0, 2),
    "aten::bmm": _of(matrix_product, 0, 2),
    "aten::mv": _of(matrix_product, 0, 2),
    "aten::dot": _of(matrix_product, 0, 2),
    "aten::_int_mm": _of(matrix_product, 0, 2),
    "aten::_scaled_mm": _of(matrix_product, 0, 2),
    "aten::_grouped_mm": _of(grouped_product, 0, 2),
    "aten::_scaled_grouped_mm": _of(grouped_product, 0, 2),
    "aten::baddbmm": _of(matrix_product, 1, 2),
    "aten::addmv": _of(matrix_product, 1, 2),
    "aten::scaled_dot_product_attention": _of(attention, 0, 3),
}


class _Whole(nn.Module):
    """Sampling and decoding as one forward pass, so that it can be traced."""

    def __init__(self, method: Method, knobs: Mapping[str, KnobValue], sampling: Sampling) -> None:
        super().__init__()
        self.method, self.knobs, self.sampling = method, knobs, sampling

    def forward(self, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.method.sample(labels, noise, self.knobs, self.sampling).tokens
        return tokens, self.method.decode(tokens)


def traced_macs(
    method: Method, knobs: Mapping[str, KnobValue], sampling: Sampling, labels: Tensor, noise: Tensor
) -> int:
    """MACs of sampling and decoding this batch, counted by fvcore. If operators have no rule, raises ArbenchError,
    which names these operators."""
    return count_trace(_Whole(method, knobs, sampling), (labels, noise))


def count_trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """MACs of one call of a module, counted by fvcore. Only our HANDLES are used, because fvcore's own handles also
    count norms and resizing.

    The trace contains the operators that this call ran. The module's mode (train or eval) is left as it is.
    """
    analysis = FlopCountAnalysis(module, inputs).clear_op_handles().set_op_handle(**HANDLES)
    analysis = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    with torch.no_grad():
        total = analysis.total()
    heavy = sorted(name for name in analysis.unsupported_ops() if not _light(name))
    if heavy:
        raise ArbenchError(f"FLOPs (fvcore): no rule for {', '.join(heavy)}, and not known to be light")
    return int(total)


def _light(kind: str) -> bool:
    """Whether an operator of a trace is light, that is, so cheap that its work is not counted. An operator outside aten
    is not light.

    kind: the operator's full name, such as ``aten::add_``.
    """
    namespace, _, name = kind.partition("::")
    if namespace != "aten":
        return False
    packet = getattr(torch.ops.aten, name, None)
    return packet is not None and is_light(packet)
