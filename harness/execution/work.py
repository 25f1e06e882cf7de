"""The work of a method at fixed knobs and sampling: what is captured, compiled, or run as it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from harness.execution.compilation import compiled
from harness.method import Generated, KnobValue, Loop, Method
from harness.sampling import Sampling

Sample = Callable[[Tensor, Tensor], Generated]
Decode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Work:
    """The functions of a method, without knobs and sampling, which are fixed."""

    sample: Sample  # labels [B] and noise [B, positions] -> tokens and steps
    decode: Decode  # tokens [B, positions] -> images
    loop: Callable[[Tensor, Tensor], Loop | None]  # the same as ``sample``, as a loop of equal steps (``Method.loop``)
    fixed: bool  # whether the work is the same whatever is generated (``Method.captures``)


def work_of(method: Method, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Work:
    """The work of a method as it is."""

    def sample(labels: Tensor, noise: Tensor) -> Generated:
        return method.sample(labels, noise, knobs, sampling)

    def loop(labels: Tensor, noise: Tensor) -> Loop | None:
        return method.loop(labels, noise, knobs, sampling)

    return Work(sample, method.decode, loop, method.captures(knobs))


def compiled_work(work: Work) -> Work:
    """The same work with compiled functions. In a loop the step is compiled, once for each kind of step."""

    def loop(labels: Tensor, noise: Tensor) -> Loop | None:
        found = work.loop(labels, noise)
        if found is None:
            return None
        steps = {kind: compiled(partial(found.step, kind)) for kind in dict.fromkeys(found.kinds)}
        return replace(found, step=lambda kind: steps[kind]())

    return replace(work, sample=compiled(work.sample), decode=compiled(work.decode), loop=loop)
