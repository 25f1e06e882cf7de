"""``arbench counters``: counts the MACs of every method with every counter, and compares the counts. A method that has
sparsity knobs is counted a second time, with sparsity."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from harness import registry
from harness.inputs import inputs
from harness.method import KnobValue, Method
from harness.sampling import Sampling
from harness.stages.flops.counter import closed_form, count_image
from harness.stages.flops.operators import MISSING_RULES

MOST = 0.005
"""Largest relative difference at which counters agree."""
SPARSITY = 0.5


@dataclass(frozen=True)
class Counted:
    """The MACs of one setting of a method, as every counter counts them."""

    method: str
    knobs: Mapping[str, KnobValue]
    macs: Mapping[str, float]  # MACs of an image; the keys are the names of the counters
    uncounted: Mapping[str, int]  # number of calls of each light operator that ran

    @property
    def apart(self) -> float:
        """Largest relative difference between the MACs of any counter and the MACs of the counter ``executed``."""
        return max(abs(value / self.macs["executed"] - 1) for value in self.macs.values())


def table(names: Sequence[str]) -> list[Counted]:
    """Counts the MACs of some methods with every counter. ``names``: the methods' names.

    A method is built as its first preset, with random weights. Its MACs are counted with its default knobs. If the
    method has sparsity knobs, its MACs are counted a second time, with every sparsity knob at one half.
    """
    return [counted for name in names for counted in _of(registry.get(name))]


def _of(owner: type[Method]) -> list[Counted]:
    preset = next(iter(owner.presets))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method = owner.build(preset).eval()
    sparse = {knob.name: SPARSITY for knob in owner.knobs_of(preset) if knob.name.endswith("sparsity")}
    found = []
    for given in ({}, sparse) if sparse else ({},):
        knobs, sampling = owner.resolve(given, preset), method.preset.sampling
        uncounted = sum((part.uncounted for part in count_image(method, knobs, sampling, 0, 0)), start=Counter[str]())
        found.append(Counted(owner.name, knobs, agreement(method, knobs, sampling), uncounted))
    return found


def in_words(rows: Sequence[Counted]) -> str:
    """The table for a terminal. Below the table, the operators that no counter counts are listed."""
    counters = ("executed", "torch", "fvcore", "closed form")
    lines = [f"{'MACs an image':<34}" + "".join(f"{name:>14}" for name in counters) + f"{'apart':>10}"]
    for row in rows:
        name = f"{row.method} {'sparse' if any(_is_sparse(*knob) for knob in row.knobs.items()) else ''}"
        cells = "".join(f"{row.macs[one]:>14,.0f}" if one in row.macs else f"{'-':>14}" for one in counters)
        lines.append(f"{name:<34}{cells}{row.apart:>9.3%}")
    operators = sorted({operator for row in rows for operator in row.uncounted})
    return "\n".join([*lines, "", f"not counted by any: {', '.join(operators)}"])


def _is_sparse(name: str, value: KnobValue) -> bool:
    return name.endswith("sparsity") and value != 0


def agreement(method: Method, knobs: Mapping[str, KnobValue], sampling: Sampling, seed: int = 0) -> dict[str, float]:
    """MACs of sampling and decoding image 0: for the name of each counter, its total.

    The counters are ``executed``, ``fvcore``, ``torch`` and ``closed form``. ``torch`` is FlopCounterMode, to which we
    add rules for operators that torch counts as 0. The closed form computes the MACs from the architecture alone. It is
    left out if the MACs differ from image to image.
    """
    from harness.stages.flops.by_trace import (
        traced_macs,  # fvcore takes a second to import, and only this comparison needs it
    )

    labels, noise = inputs(method, seed, [0])
    sampled, decoded = count_image(method, knobs, sampling, seed, 0)
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=MISSING_RULES) as mode:
        method.decode(method.sample(labels, noise, knobs, sampling).tokens)
    found = {
        "executed": float(sampled.macs + decoded.macs),
        "fvcore": float(traced_macs(method, knobs, sampling, labels, noise)),
        "torch": mode.get_total_flops() / 2,
    }
    form = closed_form(method, knobs, sampling)
    return found if form is None else {**found, "closed form": sum(form.values())}
