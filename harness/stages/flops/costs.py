"""What a preset costs, from its architecture alone (``arbench flops``).

The MACs come from the method's closed form, a formula that computes the MACs from the architecture. Parameters and MACs
do not depend on the values of weights. So the method is built on torch's meta device, which stores no values. With
``--check`` the method also runs on this device, and the operators that run are counted.

If the MACs differ from image to image, there is no closed form. The method then runs with random weights, and its
operators are counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from harness.checkpoints.tensors import Uninitialised
from harness.errors import ArbenchError
from harness.method import KnobValue, Method
from harness.sampling import SAMPLING_FIELDS, Sampling
from harness.stages.flops.counter import CONVENTION, closed_form, count_image
from harness.trial import RESERVED, number


def parse_settings(owner: type[Method], given: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Knobs and sampling settings from texts NAME=VALUE.

    Raises ArbenchError for a text of another form, and for a setting that does not affect cost.
    """
    knobs: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    kinds = {knob.name: knob.kind for knob in owner.knobs}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise ArbenchError(f"--set {one!r} is not NAME=VALUE")
        if name in SAMPLING_FIELDS:
            settings[name] = value if name == "cfg_schedule" else number(value)
        elif name in RESERVED:
            raise ArbenchError(f"--set {name}: a cost does not depend on it")
        else:
            knobs[name] = value if kinds.get(name) == "choice" else number(value)
    return knobs, settings


def costs(
    owner: type[Method], preset: str, knobs: Mapping[str, KnobValue], sampling: Sampling, check: bool = False
) -> dict[str, Any]:
    """The parameters of a preset, and the cost of one image.

    knobs: a value for every knob.
    check: whether operators are run and counted even if there is a closed form.

    Keys:

    - ``method``, ``preset``, ``knobs``, ``sampling``, ``branches`` (2 with guidance)
    - ``parameters``: number of parameters of the ``network`` and of the ``tokenizer``
    - ``macs``: MACs by part, from the closed form; where there is none, the same as ``counted``
    - ``flops``: 2 x the sum of ``macs``
    - ``steps``: for each step, MACs by part, without the work that is done once per image; empty if there is no closed
      form
    - ``published``: the MACs of the authors' own code, by part; the same as ``macs`` if there is no closed form
    - ``counted``: MACs by part, counted while one image is made. None if there is a closed form and ``check`` is not
      set. If there is no closed form, the image is made with random weights
    - ``data_dependent``: whether there is no closed form
    - ``convention``: the rules of counting, in words
    """
    with torch.device("meta"), Uninitialised():
        method = owner.build(preset).eval()
    form = closed_form(method, knobs, sampling)
    counted = None
    if form is None or check:
        counted = _counted(method if form is not None else owner.build(preset).eval(), knobs, sampling)
    macs = form if form is not None else counted
    assert macs is not None
    return {
        "method": owner.name,
        "preset": preset,
        "knobs": dict(knobs),
        "sampling": asdict(sampling),
        "branches": 1 + sampling.guided,
        "parameters": {
            part: sum(parameter.numel() for parameter in module.parameters())
            for part, module in (("network", method.network), ("tokenizer", method.tokenizer))
        },
        "macs": dict(macs),
        "flops": 2 * sum(macs.values()),
        "steps": [] if form is None else method.step_forms(knobs, sampling),
        "published": dict(macs) if form is None else dict(method.published_form(knobs, sampling)),
        "counted": counted,
        "data_dependent": form is None,
        "convention": CONVENTION,
    }


def _counted(method: Method, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
    sampled, decoded = count_image(method, knobs, sampling, 0, 0, method.preset.setup.labels)
    return {part: float(macs) for part, macs in sorted((sampled.by_part + decoded.by_part).items())}


def in_words(found: Mapping[str, Any], every_step: bool = False) -> str:
    """The result of ``costs``, for a terminal."""
    settings = {**found["knobs"], "cfg": found["sampling"]["cfg"]}
    lines = [
        f"{found['method']} {found['preset']} ({', '.join(f'{name}={value}' for name, value in settings.items())})",
        f"parameters: network {found['parameters']['network']:,}, tokenizer {found['parameters']['tokenizer']:,}",
        "",
        f"{'an image':<12}{'GMACs':>12}{'GFLOPs':>12}",
    ]
    macs = found["macs"]
    lines += [_row(part, value) for part, value in macs.items() if value]
    decoder = macs.get("tokenizer", 0)
    whole = sum(macs.values())
    lines += [_row("tokens", whole - decoder), _row("all", whole), ""]
    if found["data_dependent"]:
        lines += ["counted on one image of random weights: this cost depends on content", ""]
    elif found["counted"]:
        lines += [f"counted on what runs: {sum(found['counted'].values()) / 1e9:,.2f} GMACs", ""]
    if every_step and found["steps"]:
        lines += [f"{'step':<12}{'GMACs':>12}{'GFLOPs':>12}"]
        lines += [_row(str(place), sum(step.values())) for place, step in enumerate(found["steps"], 1)] + [""]
    published = sum(value for part, value in found["published"].items() if part != "tokenizer") / found["branches"]
    lines.append(f"as the published code computes it: {published / 1e9:,.2f} GMACs a branch for the tokens")
    branches = "both branches of guidance" if found["branches"] == 2 else "one branch, no guidance"
    lines.append(f"{branches}; tokenizer: the decoder and what sampling needs of the quantiser")
    lines.append(found["convention"])
    return "\n".join(lines)


def _row(name: str, macs: float) -> str:
    return f"{name:<12}{macs / 1e9:>12,.3f}{2 * macs / 1e9:>12,.3f}"
