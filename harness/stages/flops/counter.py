"""Counts multiply-adds of the operators that really run, by the part of the network that ran them.

Convention: 1 MAC = one multiply and one add, and FLOPs = 2 x MACs. Matrix products and convolutions are counted. So is
attention, over all keys that the operator gets. Element-wise work, norms, resizing, look-ups, gathers and scatters are
not counted.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.errors import ArbenchError, unknown
from harness.inputs import inputs
from harness.method import PARTS, KnobValue, Method
from harness.sampling import Sampling
from harness.stages.flops.operators import RULES, is_light
from harness.stages.flops.reads import Moment, Reads

CONVENTION = (
    "1 MAC = one multiply and one add; FLOPs = 2 x MACs; matrix products, convolutions and attention over every slot "
    "given to it (a mask does not lower it), of both branches where there is guidance; element-wise work, norms, "
    "resizing, look-ups, gathers and scatters count nothing"
)


WITHIN_STEP = ("attention", "ffn", "router")
"""A new step begins when one of these parts runs after a head. The other parts may run between two steps; they
then belong to the step before."""
COUNTER = (
    "operators executed on the trial's own labels and noise, by the rules of torch.utils.flop_counter and of arbench"
)


@dataclass
class Count:
    """The MACs of the operators that ran."""

    by_part: Counter[str] = field(default_factory=Counter)  # MACs
    by_operator: Counter[str] = field(default_factory=Counter)  # MACs
    uncounted: Counter[str] = field(default_factory=Counter)  # number of calls of light operators, which add no MACs
    # MACs of each network evaluation (step). A step ends with its head. Work before the first step counts to the first
    # step; work after the last head counts to the last step.
    by_step: list[int] = field(default_factory=lambda: [0])
    weights_by_step: list[int] = field(default_factory=list)  # bytes of weights that each step reads (see ``reads``)
    cache_by_step: list[int] = field(default_factory=list)  # bytes of earlier keys and values that each step reads
    _in_head: bool = False

    def add(self, part: str, operator: str, macs: int) -> None:
        """Count one run of an operator."""
        self.by_part[part] += macs
        self.by_operator[operator] += macs
        if self._in_head and part in WITHIN_STEP:
            self.by_step.append(0)
        self._in_head = part == "head" or (self._in_head and part not in WITHIN_STEP)
        self.by_step[-1] += macs

    @property
    def between(self) -> bool:
        """Whether a step has ended with its head, and the next has not begun."""
        return self._in_head

    @property
    def macs(self) -> int:
        """All MACs."""
        return sum(self.by_part.values())

    @property
    def flops(self) -> int:
        """2 x MACs."""
        return 2 * self.macs


class ExecutedCounter(TorchDispatchMode):
    """Counts the MACs of the operators that run in a block ``with ExecutedCounter(root) as counter``. The result is
    ``counter.count``. The argument ``root`` is the module that contains all modules of the network, usually the method.

    Every module belongs to a part of the network, such as attention or FFN. If a module calls an operator, the MACs of
    the operator are added to the part to which this module belongs.

    - A module can declare its part. If it declares none, it belongs to the part of the module around it.
    - A module can be a child of several modules, and these modules can belong to different parts. The child then
      belongs to the part of the module that is calling it.
    - Operators outside every part are added to the part ``otherwise``.

    Raises ArbenchError for an operator that has no rule and is not known to be light. If ``otherwise`` is None, also
    raises ArbenchError for a counted operator outside every part.
    """

    supports_higher_order_operators = True

    def __init__(self, root: nn.Module, otherwise: str | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = Count()
        self._reads = Reads(root)
        self._otherwise = otherwise
        self._parts: dict[int, set[str | None]] = {}
        self._claim(root, None)

    def _claim(self, module: nn.Module, inherited: str | None) -> None:
        part = part_of(module) or inherited
        self._parts.setdefault(id(module), set()).add(part)
        for child in module.children():
            self._claim(child, part)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        kind, name, rule = _classified(func)
        if kind == "counted":
            out = func(*args, **kwargs)
            flops = rule(*args, **kwargs, out_val=out)
            self._add(name, flops)
            if flops:  # a product of no rows, as of an expert without tokens, reads nothing
                self._note(func, True, args, kwargs, out)
            return out
        if kind == "composite":
            with self:
                return func.decompose(*args, **kwargs)
        if kind == "heavy":
            raise ArbenchError(
                f"FLOPs: operator {func} has no counting rule and is not known to be light ({self._where()})"
            )
        self.count.uncounted[name] += 1
        out = func(*args, **kwargs)
        self._note(func, False, args, kwargs, out)
        return out

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        steps = len(self.count.by_step)
        self.count.weights_by_step, self.count.cache_by_step = self._reads.weights(steps), self._reads.cache(steps)

    def _note(self, func: Any, counted: bool, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        """Count what an operator has read, in bytes."""
        step = len(self.count.by_step) - 1
        following = step + self.count.between  # what is made between two steps is made for the one that follows
        moment = Moment(step if counted else following, following, lambda: self._part() == "attention")
        self._reads.saw(func, counted, (args, kwargs), out, moment)

    def _add(self, operator: str, flops: int) -> None:
        part = self._part()
        if part is None:
            raise ArbenchError(
                f"FLOPs: operator {operator} belongs to no part ({self._where()}; valid: {', '.join(PARTS)})"
            )
        self.count.add(part, operator, flops // 2)

    def _part(self) -> str | None:
        for module in _modules_on_stack():
            owned = self._parts.get(id(module), {part_of(module)})
            if len(owned) == 1 and (part := next(iter(owned))) is not None:
                return part
        return self._otherwise

    def _where(self) -> str:
        module = next(_modules_on_stack(), None)
        return "outside any module" if module is None else f"in {type(module).__name__}"


@cache  # asking torch costs more than a small operator
def _classified(func: Any) -> tuple[str, str, Any]:
    """How the counter treats an operator, in one word; the operator's name; and its counting rule if it has one. The
    word is one of four:

    - ``counted``: the operator has a rule.
    - ``light``: the operator has no rule, and it is known to be cheap. It adds no MACs.
    - ``composite``: the operator is neither counted nor light, but consists of simpler operators. Torch leaves such an
      operator whole in inference mode. So the counter splits it and counts the simpler operators.
    - ``heavy``: any other operator. The counter raises ArbenchError for it.
    """
    packet = getattr(func, "_overloadpacket", None)
    if packet is None:  # a higher-order operator
        return "heavy", str(func), None
    if packet in RULES:
        return "counted", str(packet), RULES[packet]
    if is_light(packet):
        return "light", str(packet), None
    return "composite" if func._can_decompose() else "heavy", str(packet), None


def part_of(module: nn.Module) -> str | None:
    """The part that a module itself declares, if any. Raises ArbenchError if the part is none of PARTS."""
    part = getattr(module, "part", None)
    if part is not None and part not in PARTS:
        raise unknown(f"part of {type(module).__name__}", str(part), PARTS)
    return part


def _modules_on_stack() -> Iterator[nn.Module]:
    """The modules that are running now, innermost first. A module is running while one of its Python functions is on
    the call stack. Hooks of torch are not used, because they would notice only calls of ``forward``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if "self" in frame.f_code.co_varnames or "self" in frame.f_code.co_freevars:
            owner = frame.f_locals.get("self")
            if isinstance(owner, nn.Module):
                yield owner
        frame = frame.f_back


def count_image(
    method: Method, knobs: Mapping[str, KnobValue], sampling: Sampling, seed: int, index: int, policy: str = "balanced"
) -> tuple[Count, Count]:
    """Samples and decodes one image alone. Returns two counts: of sampling, and of decoding.

    Costs belong to the method, whatever the device: if the steps of its loop are padded on some devices, steps without
    padding are counted on all of them.

    policy: a value of ``Setup.labels``.
    """
    labels, noise = inputs(method, seed, [index], policy)
    sampled, decoded = ExecutedCounter(method), ExecutedCounter(method.tokenizer, otherwise="tokenizer")
    with torch.no_grad():
        with sampled:
            loop = method.loop(labels, noise, knobs, sampling)
            if loop is not None and loop.unpadded:
                tokens = replace(loop, kinds=loop.unpadded).run().tokens
            else:
                tokens = method.sample(labels, noise, knobs, sampling).tokens
        with decoded:
            method.decode(tokens)
    return sampled.count, decoded.count


def closed_form(method: Method, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float] | None:
    """MACs by part from the method's closed form. None if there is no closed form, because the MACs differ from
    image to image."""
    try:
        return method.closed_form(knobs, sampling)
    except ArbenchError:
        return None
