"""The part ``sparse``: ActVAR and static pruning against VAR, in one session. Do saved FLOPs save time?"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from harness import registry
from harness.checkpoints.tensors import Uninitialised
from harness.errors import ArbenchError
from harness.method import KnobValue, Method
from harness.sampling import Sampling
from harness.stages.timing.cases import Case
from harness.stages.timing.stage import interleaved
from harness.stages.timing.summary import ratio
from tests.official.one import random_method
from tests.programs.gpu.lines import Bound, Line, failed, judged, milliseconds, seen
from tests.programs.gpu.parts import Bench, thinned
from tests.programs.gpu.speed import FIXED_S, brief_energy, not_captured, protocol

DENSE = "VAR-d16"
SAVED = 0.21
"""The share of the tokens' FLOPs that ActVAR and static pruning save."""
TILT = 1.5
SINGLE = 1.1
"""Bound at batch 1, as a multiple of VAR's time."""
BOUNDS = {"ActVAR, 21 % of FLOPs saved": 1.0, "ActVAR, token sparsity .5": 0.9, "VAR-static, 21 % of FLOPs saved": 0.9}
"""Bounds in a large batch, as multiples of VAR's time."""


def run(bench: Bench) -> Iterator[Line]:
    """Measure each sparse version beside VAR, in a session of the two, so that its lines are there when it is done."""
    settings = bench.settings
    preset = settings.presets[DENSE][1]
    given = asked(preset)
    costs = {name: tokens_macs(registry.get(method), preset, knobs) for name, (method, knobs) in given.items()}
    dense = _case(DENSE, *given[DENSE], preset, bench)
    sessions = bench.figures["sparse"] = {}
    for name in BOUNDS:
        cases = [dense, _case(name, *given[name], preset, bench)]
        with brief_energy():
            timed = interleaved(cases, protocol(bench, 2 * len(BOUNDS), FIXED_S), thinned(bench.tell))
        sessions[name] = {
            case: {"method": given[case], "tokens_macs": costs[case], "timing": timing}
            for case, timing in zip((DENSE, name), timed, strict=True)
        }
        yield from lines_of(name, sessions[name])


def _case(name: str, method: str, knobs: Mapping[str, KnobValue], preset: str, bench: Bench) -> Case:
    owner = registry.get(method)
    made = random_method(owner, preset, bench.settings.precision, bench.device)
    return name, made, owner.resolve(knobs, preset), made.preset.sampling


def asked(preset: str) -> dict[str, tuple[str, dict[str, KnobValue]]]:
    """The cases: name -> method and knobs."""
    first, second, third = BOUNDS
    return {
        DENSE: ("var", {}),
        first: ("actvar", {"ffn_sparsity": sparsity_for("actvar", preset, SAVED), "ffn_tilt": TILT}),
        second: ("actvar", {"token_sparsity": 0.5, "sparse_scales": 3}),
        third: ("var-static", {"ffn_sparsity": sparsity_for("var-static", preset, SAVED), "ffn_tilt": TILT}),
    }


def sparsity_for(method: str, preset: str, saved: float) -> float:
    """The least ``ffn_sparsity``, in thousandths, at which a method saves this share of VAR's FLOPs of the tokens.

    ArbenchError if it cannot save as much.
    """
    owner = registry.get(method)
    dense = tokens_macs(registry.get("var"), preset, {})
    built, sampling = _on_meta(owner, preset), owner.preset_named(preset).sampling
    for thousandths in range(1, 1000):
        knobs = {"ffn_sparsity": thousandths / 1000, "ffn_tilt": TILT}
        if _tokens(built, owner.resolve(knobs, preset), sampling) <= (1 - saved) * dense:
            return thousandths / 1000
    raise ArbenchError(f"{method} {preset}: no ffn_sparsity saves {saved:.0%} of the tokens' FLOPs")


def tokens_macs(owner: type[Method], preset: str, knobs: Mapping[str, KnobValue]) -> float:
    """MACs of sampling an image, without the decoder, by the closed form."""
    found = owner.preset_named(preset)
    return _tokens(_on_meta(owner, preset), owner.resolve(knobs, preset), found.sampling)


def _on_meta(owner: type[Method], preset: str) -> Method:
    with torch.device("meta"), Uninitialised():
        return owner.build(preset)


def _tokens(method: Method, knobs: Mapping[str, KnobValue], sampling: Sampling) -> float:
    return sum(macs for part, macs in method.closed_form(knobs, sampling).items() if part != "tokenizer")


def lines_of(name: str, found: Mapping[str, Any]) -> list[Line]:
    """The lines of a sparse version. found: for it and for VAR, ``timing`` and ``tokens_macs``."""
    timing, dense = found[name]["timing"], found[DENSE]["timing"]
    for case, one in ((DENSE, dense), (name, timing)):
        if "failure" in one:
            return [failed("5", f"{name}: time of {case}", one["failure"])]
    saved = 1 - found[name]["tokens_macs"] / found[DENSE]["tokens_macs"]
    lines = [seen("5", f"{name}: FLOPs of the tokens saved", f"{saved:.1%}", saved)]
    if timing["device"] != "cpu" and (why := not_captured(timing) or not_captured(dense)):
        return [*lines, failed("5", f"{name}: captured", why)]
    for kind, bound in (("throughput", BOUNDS[name]), ("latency", SINGLE)):
        value, low, high = ratio(_tokens_of(timing, kind), _tokens_of(dense, kind), kind)
        words = f"[{low:.3g}, {high:.3g}], tokens in {milliseconds(timing[kind]['tokens_s'])}"
        title = f"{name}: time of the tokens, batch {timing[kind]['batch']}, of {DENSE}'s"
        lines.append(judged("5", title, Bound(most=bound, unit="times", timed=True), value, words))
    return lines


def _tokens_of(timing: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The timing with samples of sampling alone: the decoder is the same for all, and would hide differences."""
    one = timing[kind]
    alone = [total - decoder for total, decoder in zip(one["samples"], one["decoder_samples"], strict=True)]
    return {"session": timing["session"], kind: {"samples": alone}}
