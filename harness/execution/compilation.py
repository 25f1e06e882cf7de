"""torch.compile for a function of a method.

If torch.compile has ``isolate_recompiles``, each case compiles for itself, for each batch size. Torch 2.11 has not, and
cases whose Python is the same share what was compiled: code that was compiled for one case also runs in another one if
all that the code depends on is the same there (dynamo's guards). The results are right either way. But a case may test
the guards of other cases first, at each call. Where compiled work is captured as well (CUDA), a replay tests none.
"""

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")

RECOMPILATIONS = 1000
"""Maximum number of recompilations of one function; a case that needs more fails. By default, torch would go on without
compiling after 8 recompilations, and would not say so."""


def compiled(function: Callable[P, T]) -> Callable[P, T]:
    """The function, compiled. It is compiled when it is first called, and again for each new shape."""
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._dynamo.config.recompile_limit = RECOMPILATIONS
    torch._dynamo.config.accumulated_recompile_limit = 10**6  # for all cases together; a sweep has many cases
    settings: dict[str, Any] = {}
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters:  # torch 2.11 has no such setting
        settings = {"isolate_recompiles": True, "recompile_limit": RECOMPILATIONS}
    made: Callable[P, T] = torch.compile(function, **settings)
    return made
