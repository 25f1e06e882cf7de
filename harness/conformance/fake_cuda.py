"""A CUDA device that is not there. A method is built and run on fake tensors, which have shapes and devices but no
values. This shows, without a GPU, what the method asks of the host."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.errors import ArbenchError
from harness.method import KnobValue, Method
from harness.sampling import Sampling
from harness.setup import in_precision

IMAGES = 3


class _Watch(TorchDispatchMode):
    """Notes every operation that has tensors on the host and on the device, such as a copy from one to the other. What
    the host computes for itself is the same for every batch, and is left alone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noted: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, made)) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in tensors}
        if len(devices) > 1:
            self.noted.append(f"{func} has tensors on the host and on the device")
        return made


def asked_of_the_host(
    owner: type[Method],
    preset: str,
    knobs: Mapping[str, KnobValue],
    sampling: Sampling | None = None,  # None: the preset's
    precision: str = "fp32",
) -> list[str]:
    """What sampling and decoding a second batch on CUDA asks of the host, in words; nothing if they can be captured.

    The first batch may make tables. Of a method with a loop (``Method.loop``), one step of each kind is run.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        with torch.device("cuda"):
            method = owner.build(preset).eval()
            labels = torch.zeros(IMAGES, dtype=torch.int64)
            noise = torch.zeros(IMAGES, method.positions, dtype=torch.float64)
        in_precision(method, precision)
        settings = owner.resolve(knobs, preset), sampling or method.preset.sampling
        try:
            _batch(method, labels, noise, *settings)
            with _Watch() as watch:
                _batch(method, labels, noise, *settings)
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
