"""The part ``compiled``: the step of a loop, compiled by torch.compile and captured. It is LlamaGen-B with few layers,
so that compiling takes seconds. Its tokens are those of mode off, and each kind of step is compiled once."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from harness import registry
from harness.execution.modes import COMPILE, OFF
from harness.execution.running import running, share_alike
from harness.inputs import inputs
from harness.machine.arithmetic import arithmetic
from harness.machine.devices import synchronise
from tests.official.one import random_method
from tests.programs.gpu.known import missing
from tests.programs.gpu.lines import Bound, Line, judged, not_measured
from tests.programs.gpu.parts import Bench

MODEL = "LlamaGen-B"
LAYERS, BATCH = 2, 2
ALIKE = Bound(least=0.99, unit="%")
"""Compiled kernels round differently, so the largest logit may be another one here and there."""
DECODER = 1
"""So many functions are compiled beside the kinds of steps."""


@torch.inference_mode()
def run(bench: Bench) -> Iterator[Line]:
    """Compile, compare tokens with mode off, and count the compilations of two batches."""
    title = f"{MODEL}, {LAYERS} layers, compiled, fp32"
    if bench.device.type == "cuda" and missing(("triton",)):
        yield not_measured("1", title, "triton is not installed")
        return
    name, preset = bench.settings.presets[MODEL]
    owner = registry.get(name)
    whole = owner.preset_named(preset)
    owner.presets = {**owner.presets, preset: replace(whole, network={**whole.network, "layers": LAYERS})}
    method = random_method(owner, preset, "fp32", bench.device)
    # Greedy: with random weights the distributions are flat, and the last bits of a logit would decide a draw.
    knobs, sampling = owner.resolve({}, preset), replace(method.preset.sampling, top_k=1)
    labels, noise = inputs(method, 0, range(BATCH))
    loop = method.loop(labels, noise, knobs, sampling)
    kinds = 0 if loop is None else len(set(loop.kinds))
    mode = COMPILE if bench.device.type == "cuda" else OFF  # a rehearsal compiles nothing
    before = compilations()
    with arithmetic("off"):
        plain = running(method, knobs, sampling, (labels, noise), OFF).sample(labels, noise).tokens
        made = running(method, knobs, sampling, (labels, noise), mode)
        tokens = made.sample(labels, noise).tokens
        made.decode(tokens)
        again = made.sample(*inputs(method, 0, range(BATCH, 2 * BATCH))).tokens
    synchronise(bench.device)
    count = compilations() - before
    same = (tokens == plain).double().mean().item()
    bench.figures["compiled"] = {"tokens": same, "images": share_alike(tokens, plain), "compilations": count}
    assert again.shape == tokens.shape
    yield judged("1", f"{title}: same tokens as in mode off", ALIKE, same)
    words = f"({kinds} kinds of steps, and the decoder)"
    yield judged("1", f"{title}: compilations", Bound(most=kinds + DECODER), count, words)


def compilations() -> int:
    """How many functions torch.compile has compiled in this process."""
    from torch._dynamo.utils import counters  # late: it takes a second

    stats: Mapping[str, Any] = counters["stats"]
    return int(stats.get("unique_graphs", 0))
