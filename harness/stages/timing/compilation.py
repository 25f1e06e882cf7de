"""torch.compile as an option of the timing protocol: the same for every method, and stated in every record.

``sample`` and ``decode`` of a method are compiled as a whole. They are compiled separately for each case and each batch
size, so that no case runs code that was compiled for another case. In some methods, the number of sampling steps or the
shape of a tensor depends on the content of an image. In such a method, an image may need a step or a shape that no
image needed before. The code for this step or shape is compiled at that moment.
"""

import inspect
import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from harness.errors import ArbenchError, unknown
from harness.method import Generated, KnobValue, Method
from harness.sampling import Sampling

NONE, DEFAULT, GRAPHS = "none", "default", "reduce-overhead"
MODES = (NONE, DEFAULT, GRAPHS)
"""The names are those of torch.compile; ``reduce-overhead`` replays CUDA graphs."""
RECOMPILATIONS = 1000
"""Maximum number of recompilations of a case at one batch size; a case that needs more fails. The default of
torch is 8; beyond that, torch would go on without compiling, and would not say so."""
Sample = Callable[[Tensor, Tensor, Mapping[str, KnobValue], Sampling], Generated]
Decode = Callable[[Tensor], Tensor]


def checked(mode: str, device: torch.device) -> str:
    """Returns ``mode``. Raises ArbenchError if there is no mode of this name, or if this machine cannot run it."""
    if mode not in MODES:
        raise unknown("value of compile", mode, MODES)
    if mode != NONE and "isolate_recompiles" not in inspect.signature(torch.compile).parameters:
        raise ArbenchError(f"compile = {mode!r} takes a newer torch than {torch.__version__} (see requirements.lock)")
    if mode == GRAPHS and device.type != "cuda":
        raise ArbenchError(f"compile = {mode!r}: {device.type!r} has no CUDA graphs (valid there: {NONE}, {DEFAULT})")
    if mode != NONE and device.type == "cpu" and not any(shutil.which(name) for name in _compilers()):
        raise ArbenchError(f"compile = {mode!r} needs a C++ compiler on a CPU: {' or '.join(_compilers())}")
    return mode


def _compilers() -> tuple[str, ...]:
    return tuple(filter(None, (os.environ.get("CXX"), "g++", "clang++")))


def compiled(method: Method, mode: str) -> tuple[Sample, Decode]:
    """``sample`` and ``decode`` of a method, compiled in one of the MODES. The two functions are compiled when they are
    first called."""
    if mode == NONE:
        return method.sample, method.decode
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._dynamo.config.accumulated_recompile_limit = 10**6  # for all cases together; a sweep has many cases
    settings: Any = {"mode": mode, "isolate_recompiles": True, "recompile_limit": RECOMPILATIONS}
    sample: Sample = torch.compile(method.sample, **settings)
    decode: Decode = torch.compile(method.decode, **settings)

    def anew(labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        torch.compiler.cudagraph_mark_step_begin()  # the memory of the last round's graphs may be overwritten
        return sample(labels, noise, knobs, sampling)

    return anew, decode
