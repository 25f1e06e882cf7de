"""Says which operators are counted, and how. An operator in ``RULES`` costs multiply-adds, and its rule counts them. A
light operator (see ``is_light``) is cheap and is not counted.

The modules ``counter`` and ``by_trace`` raise ArbenchError for any other operator, unless they can split the operator
into such operators. So a count cannot be too small because an operator was overlooked.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

Shape = Sequence[int]
aten = torch.ops.aten
_LIGHT = """
    all allclose amax amin aminmax any argmax argmin bincount count_nonzero cummax cummin cumprod cumsum diff histc
    is_nonzero isin linalg_vector_norm logcumsumexp logsumexp max mean median min mode norm prod quantile std std_mean
    sum var var_mean
    argsort bucketize kthvalue searchsorted sort topk unique_consecutive unique_dim _unique2
    _softmax _safe_softmax _log_softmax softmax log_softmax dropout native_dropout feature_dropout glu hardswish prelu
    batch_norm group_norm instance_norm layer_norm rms_norm native_batch_norm native_group_norm native_layer_norm
    _fused_rms_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    embedding embedding_bag _embedding_bag _embedding_bag_forward_only
    gather index index_add index_copy index_fill index_put index_select masked_scatter masked_select nonzero
    nonzero_static one_hot scatter scatter_add scatter_reduce select_scatter slice_scatter take take_along_dim
    _index_put_impl _unsafe_index _unsafe_index_put
    cat concat constant_pad_nd diag diag_embed flip narrow_copy pad pixel_shuffle pixel_unshuffle channel_shuffle
    reflection_pad2d repeat repeat_interleave replication_pad2d roll rot90 stack tile tril triu unsafe_chunk
    unsafe_split _to_copy _unsafe_view type_as atleast_1d atleast_2d broadcast_tensors meshgrid
    as_strided_copy permute_copy select_copy slice_copy split_copy split_with_sizes_copy squeeze_copy transpose_copy
    unsqueeze_copy view_copy
    arange bernoulli empty empty_like empty_permuted empty_strided eye fill full full_like linspace logspace multinomial
    new_empty new_empty_strided new_full new_ones new_zeros normal ones ones_like rand rand_like randint randint_like
    randn randn_like randperm uniform scalar_tensor tril_indices triu_indices zero zeros zeros_like complex polar
    __and__ __or__ divide floor_divide greater greater_equal less multiply negative subtract
    Int ScalarImplicit _local_scalar_dense dim is_floating_point is_same_size item lift numel resize_as size
    adaptive_avg_pool2d _adaptive_avg_pool2d avg_pool2d max_pool2d max_pool2d_with_indices upsample_bicubic2d
    upsample_bilinear2d upsample_nearest1d upsample_nearest2d _upsample_nearest_exact2d
"""
LIGHT = frozenset(_LIGHT.split())
"""Names of light aten operators (in-place forms included) that torch tags neither as point-wise nor as views. Their
work is a reduction, a sort, a norm, a look-up, a move of data, a fill, a pooling or a resizing: a few operations an
element, and no multiply-adds in the convention used here."""


def matrix_product(left: Shape, right: Shape) -> int:
    """Multiply-adds of ``left @ right`` with torch.matmul's rules: vectors are padded, batch dimensions broadcast."""
    rows = left[-2] if len(left) > 1 else 1
    columns = right[-1] if len(right) > 1 else 1
    batch = torch.broadcast_shapes(tuple(left[:-2]), tuple(right[:-2]))
    return prod(batch) * rows * left[-1] * columns


def attention(query: Shape, key: Shape, value: Shape) -> int:
    """Multiply-adds of attention: of the scores and of the weighted sum. All keys count, even if a mask or causality
    excludes some.

    query [..., L, E], key [..., S, E], value [..., S, Ev]. With grouped heads, the number of heads is the query's.
    """
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def grouped_product(left: Shape, right: Shape) -> int:
    """Multiply-adds of a grouped product, in which each group of rows is multiplied by a matrix of its own.

    Usually left is [rows, n], with the rows of all groups, and right is [groups, n, m]. Or left is [groups, rows, n],
    and right is [n, m], with the columns of all groups. Two matrices share out their inner dimension among the groups.
    Two tensors of three dimensions are a batch of products.
    """
    return matrix_product(left, right) if len(left) == len(right) else prod(left[-2:]) * right[-1]


def _shapes(arguments: Sequence[Any]) -> list[Shape]:
    return [argument.shape for argument in arguments if isinstance(argument, Tensor)]


def _flops(macs: Callable[..., int], first: int, count: int) -> Callable[..., int]:
    """A rule in the form of torch's registry: a function that computes FLOPs from an operator's arguments.

    The rule passes the shapes of ``count`` arguments to ``macs``, beginning with the argument at index ``first``. It
    doubles the MACs that ``macs`` returns.
    """

    def rule(*arguments: Any, out_val: Any = None, **_: Any) -> int:
        return 2 * macs(*_shapes(arguments[first : first + count]))

    rule._get_raw = True  # type: ignore[attr-defined]  # so that torch hands over tensors, not shapes
    return rule


def linear(inputs: Shape, weight: Shape, *bias: Shape) -> int:
    """Multiply-adds of ``inputs @ weight.T``, with or without a bias."""
    return matrix_product(inputs, weight[::-1])


MISSING_RULES: dict[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: _flops(attention, 0, 3),
    aten._scaled_dot_product_fused_attention_overrideable: _flops(attention, 0, 3),
    aten.mv: _flops(matrix_product, 0, 2),
    aten.addmv: _flops(matrix_product, 1, 2),
    aten.dot: _flops(matrix_product, 0, 2),
    aten.vdot: _flops(matrix_product, 0, 2),
    torch.ops.mkldnn._linear_pointwise: _flops(linear, 0, 3),
    aten._grouped_mm: _flops(grouped_product, 0, 2),
    aten._scaled_grouped_mm: _flops(grouped_product, 0, 2),
    aten._scaled_mm: _flops(matrix_product, 0, 2),
    aten._int_mm: _flops(matrix_product, 0, 2),
}
"""Rules for heavy operators that torch's FlopCounterMode would otherwise count as 0. FlopCounterMode gets these rules
as its argument ``custom_mapping``."""
_WHOLE: dict[Any, Callable[..., int]] = {
    aten.linear: _flops(linear, 0, 3),
    aten.matmul: _flops(matrix_product, 0, 2),
}


RULES: dict[Any, Callable[..., int]] = {**flop_registry, **MISSING_RULES, **_WHOLE}
"""Operator packet -> FLOPs (2 x MACs) from the operator's arguments and ``out_val``."""


@cache
def is_light(packet: Any) -> bool:
    """Whether an operator (all overloads of a name) is cheap enough to be left out: a view, an operator that torch tags
    as point-wise, or one named in LIGHT."""
    namespace, _, name = str(packet._qualified_op_name).partition("::")
    if namespace == "prim":
        return name in ("device", "layout")
    if namespace != "aten":
        return False
    plain = name if name.startswith("__") else name.removesuffix("_")
    packets = [packet, getattr(aten, plain, packet)]  # an in-place form is as light as the plain one
    return plain in LIGHT or any(
        torch.Tag.pointwise in one.tags or one.is_view for each in packets for one in _overloads(each)
    )


def _overloads(packet: Any) -> Iterator[Any]:
    for name in packet.overloads():
        try:
            yield getattr(packet, name)
        except (AttributeError, RuntimeError):  # an overload that exists only for TorchScript's numbers
            continue
