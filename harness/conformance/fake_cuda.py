"""A CUDA device that is not there. A method is run on fake tensors, which have shapes and devices but no values. This
shows, without a GPU, what the method asks of the host."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.checkpoints.tensors import Uninitialised
from harness.errors import ArbenchError
from harness.method import KnobValue, Method
from harness.sampling import Sampling
from harness.setup import in_precision

IMAGES = 3

WAITS = frozenset(
    {
        *("_local_scalar_dense", "equal", "is_nonzero", "allclose"),  # a value
        *("nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive", "bincount"),  # a shape
        *("_linalg_check_errors", "_linalg_eigh", "linalg_eig", "_linalg_svd", "linalg_lstsq"),  # whether it succeeded
        *("linalg_inv", "linalg_cholesky", "linalg_solve", "linalg_pinv"),  # the same: these end with such a check
        *("multinomial", "normal"),  # whether the distribution is one; methods draw from the noise they are given
        *("embedding_renorm_", "_ctc_loss"),
    }
)
"""Operators of torch for which the host waits for the GPU, each without its namespace and overload. The host needs
their result, the shape of the result, or a check of it."""

COPIES = frozenset({"copy_", "_to_copy", "where", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"})
"""Operators that copy a tensor of the host to the GPU even if it has no dimensions. Others take its value as an
argument of the kernel."""


def waits(operator: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Whether the host would wait for the GPU if this operator ran there, so that it cannot be captured.

    operator: one of torch's, with its overload.
    """
    name = operator._schema.name.partition("::")[2]
    if name == "repeat_interleave":
        return named.get("output_size") is None and operator._overloadname == "Tensor"
    if name == "normal":
        return any(isinstance(one, Tensor) for one in arguments)
    if name == "histc":  # without borders it looks for the least and the greatest value
        low, high = [*arguments, *[0] * 4][2:4]
        return bool(named.get("min", low) == named.get("max", high))
    if name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"):
        return bool(_masks(arguments)) and not _fills(operator, arguments)
    return name in WAITS


def _masks(arguments: Sequence[Any]) -> list[Tensor]:
    return [one for one in arguments[1] if one is not None and one.dtype in (torch.bool, torch.uint8)]


def _fills(operator: Any, arguments: Sequence[Any]) -> bool:
    """Whether an operator is ``x[mask] = number``, which is computed without waiting, as ``masked_fill``."""
    if "index_put" not in operator._schema.name or any(arguments[3:4]):
        return False
    indices, value = [one for one in arguments[1] if one is not None], arguments[2]
    return len(_masks(arguments)) == len(indices) == 1 and value.ndim == 0 and not _on_device(value)


def _on_device(tensor: Tensor) -> bool:
    return tensor.device.type != "cpu"


class _Watch(TorchDispatchMode):
    """Notes every operation that copies between the host and the device, or for which the host waits. What the host
    computes for itself is the same for every batch: it is computed on real tensors, and is left alone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noted: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":  # a fake tensor is asked for its device
            return func(*args, **kwargs)
        if _is_composite(func):  # torch leaves it whole in inference mode
            with self:
                return func.decompose(*args, **kwargs)
        tensors = _tensors((args, kwargs))
        device = torch.device(kwargs.get("device") or "cpu")
        if device.type == "cpu" and not any(isinstance(one, FakeTensor) for one in tensors):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if any(map(_on_device, tensors)) and waits(func, args, kwargs):
            self.noted.append(f"{func} makes the host wait for the device")
        made = func(*args, **kwargs)
        if not (func._schema.name.partition("::")[2] in COPIES and not _fills(func, args)):
            tensors = [one for one in tensors if _on_device(one) or one.ndim > 0]  # the others are mere numbers to it
        if len({one.device.type for one in [*tensors, *_tensors(made)]}) > 1:
            self.noted.append(f"{func} has tensors on the host and on the device")
        return made


@cache
def _is_composite(operator: Any) -> bool:
    """Whether an operator of torch consists of others on every device."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(operator.name(), "CompositeImplicitAutograd")


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def asked_of_the_host(
    owner: type[Method],
    preset: str,
    knobs: Mapping[str, KnobValue],
    sampling: Sampling | None = None,  # None: the preset's
    precision: str = "fp32",
) -> list[str]:
    """What sampling and decoding a second batch on CUDA asks of the host, in words; nothing if they can be captured.

    The method is built on the CPU, as usual, and then moved. The first batch may make tables. Of a method with a loop
    (``Method.loop``), one step of each kind is run.
    """
    with Uninitialised():  # values are not needed
        method = owner.build(preset).eval()
    in_precision(method, precision)
    settings = owner.resolve(knobs, preset), sampling or method.preset.sampling
    with FakeTensorMode(allow_non_fake_inputs=True):
        method.to("cuda")
        with torch.inference_mode():
            labels = torch.zeros(IMAGES, dtype=torch.int64, device="cuda")
            noise = torch.zeros(IMAGES, method.positions, dtype=torch.float64, device="cuda")
            return asked_by(lambda: _batch(method, labels, noise, *settings))


def asked_by(batch: Callable[[], object]) -> list[str]:
    """What the second of two calls of ``batch`` asks of the host, in words. The caller has entered FakeTensorMode."""
    try:
        with _Watch():
            batch()
        with _Watch() as watch:
            batch()
    except ArbenchError:
        raise
    except (RuntimeError, TypeError, AssertionError) as error:  # fake tensors have no values to give to the host
        return [f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"]
    return watch.noted


def _batch(method: Method, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> None:
    loop = method.loop(labels, noise, knobs, sampling)
    if loop is None:
        tokens = method.sample(labels, noise, knobs, sampling).tokens
    else:
        loop.begin()
        for kind in dict.fromkeys(loop.kinds):
            loop.step(kind)
        tokens = loop.result().tokens
    method.decode(tokens)
