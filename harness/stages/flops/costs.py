"""What a preset costs, from its architecture alone (``arbench flops``): parameters, MACs, and bytes that are read.

The MACs come from the method's closed form, a formula that computes the MACs from the architecture. Parameters and MACs
do not depend on the values of weights. So the method is built on torch's meta device, which stores no values. With
``--check`` the method also runs on this device, and the operators that run are counted.

If the MACs differ from image to image, there is no closed form. The method then runs with random weights, and its
operators are counted.

Bytes have no closed form: they are counted on a run, also on the meta device. If a method offers its steps as a loop,
one step of each kind is run. If a loop has more kinds of steps without padding, a few of these are run, and the others
follow if costs grow evenly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import inf
from typing import Any

import torch

from harness.checkpoints.tensors import Uninitialised
from harness.errors import ArbenchError
from harness.inputs import inputs
from harness.method import KnobValue, Method
from harness.sampling import SAMPLING_FIELDS, Sampling
from harness.setup import in_precision
from harness.stages.floors import Device, Work, decoder_seconds, tokens_seconds
from harness.stages.flops.counter import CONVENTION, Count, ExecutedCounter, closed_form, count_image
from harness.stages.flops.stage import bytes_read
from harness.trial import RESERVED, number

BATCHES = (1, 64)
"""Batch sizes of floors."""


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
    owner: type[Method],
    preset: str,
    knobs: Mapping[str, KnobValue],
    sampling: Sampling,
    check: bool = False,
    precision: str | None = None,
) -> dict[str, Any]:
    """The parameters of a preset, and the cost of one image.

    knobs: a value for every knob.
    check: whether operators are run and counted even if there is a closed form.
    precision: the precision in which bytes are counted, a value of ``Setup.precision``; None if they are not counted.

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
    - ``bytes``: bytes that each step and the decoder read, with the keys of ``bytes`` in a record (see
      harness.stages.flops.stage); None if ``precision`` is None
    - ``by_step``, ``decoder_macs``: MACs of the same steps, and of the decoder; None if ``precision`` is None
    - ``precision``: the argument
    - ``convention``: the rules of counting, in words
    """
    with torch.device("meta"), Uninitialised():
        method = owner.build(preset).eval()
    form = closed_form(method, knobs, sampling)
    runs = method if form is not None else owner.build(preset).eval()  # where content decides, values are needed
    if precision is not None:
        in_precision(runs, precision)
    ran = _run(runs, knobs, sampling) if form is None or check else None
    counted = _by_part(*ran) if ran is not None else None
    read = by_step = decoder = None
    if precision is not None:
        ran = ran or _one_of_each_step(runs, knobs, sampling)
        read, by_step, decoder = bytes_read([ran]), ran[0].by_step, ran[1].macs
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
        "bytes": read,
        "by_step": by_step,
        "decoder_macs": decoder,
        "precision": precision,
        "convention": CONVENTION,
    }


def _run(method: Method, knobs: Mapping[str, KnobValue], sampling: Sampling) -> tuple[Count, Count]:
    return count_image(method, knobs, sampling, 0, 0, method.preset.setup.labels)


def _one_of_each_step(method: Method, knobs: Mapping[str, KnobValue], sampling: Sampling) -> tuple[Count, Count]:
    """The counts of sampling and of decoding one image. If the method offers a loop, only the first step and one step
    of each kind are run; ``by_part`` and ``by_operator`` then hold only what was run."""
    labels, noise = inputs(method, 0, [0], method.preset.setup.labels)
    if method.loop(labels, noise, knobs, sampling) is None:
        return _run(method, knobs, sampling)
    with torch.no_grad():
        with ExecutedCounter(method) as sampled:
            loop = method.loop(labels, noise, knobs, sampling)  # again: what it makes counts to the first step
            assert loop is not None
            first, *others = loop.unpadded or loop.kinds
            ran = [first, *(_some(others) if loop.unpadded else dict.fromkeys(others))]
            replace(loop, kinds=ran).run()
        with ExecutedCounter(method.tokenizer, otherwise="tokenizer") as decoded:
            method.decode(labels.new_zeros(1, method.positions))
    count = sampled.count
    if len(count.by_step) != len(ran):  # its steps do not end with a head, so that they cannot be told apart
        return _run(method, knobs, sampling)
    series = [_all(others, ran[1:], one) for one in (count.by_step, count.weights_by_step, count.cache_by_step)]
    if not all(series):
        return _run(method, knobs, sampling)
    count.by_step, count.weights_by_step, count.cache_by_step = series
    return count, decoded.count


def _some(kinds: Sequence[int]) -> list[int]:
    """The first kind, one in the middle and the last; all kinds if there are no more than three."""
    distinct = list(dict.fromkeys(kinds))
    return distinct if len(distinct) <= 3 else [distinct[0], distinct[len(distinct) // 2], distinct[-1]]


def _all(kinds: Sequence[int], ran: Sequence[int], costs: Sequence[int]) -> list[int]:
    """The cost of the first step, and of each step of ``kinds`` after it.

    Costs of kinds that did not run lie on the line through the first and the last that ran. Empty if another kind that
    ran does not lie on it: then costs do not grow evenly with the kind.

    ran: the kinds that ran after the first step.
    costs: what the first step and each step of ``ran`` cost.
    """
    first, known = costs[0], dict(zip(ran, costs[1:], strict=True))
    if set(kinds) <= set(known):
        return [first, *(known[kind] for kind in kinds)]
    start, end = ran[0], ran[-1]

    def on_line(kind: int) -> float:
        return known[start] + (known[end] - known[start]) * (kind - start) / (end - start)

    found = [first, *(round(on_line(kind)) for kind in kinds)]
    even = all(on_line(kind) == cost for kind, cost in known.items())
    return found if even else []


def _by_part(sampled: Count, decoded: Count) -> dict[str, float]:
    return {part: float(macs) for part, macs in sorted((sampled.by_part + decoded.by_part).items())}


def floors_of(found: Mapping[str, Any], bandwidth: float, matrix: float) -> dict[str, dict[str, float]]:
    """The floors of a batch of 1 and of 64 images (see harness.stages.floors), in seconds: ``tokens`` and ``decoder``.

    found: the result of ``costs``, with bytes.
    bandwidth, matrix: what a device can do, in bytes and in FLOPs a second. ArbenchError if one is not above 0.
    """
    if not (0 < bandwidth < inf and 0 < matrix < inf):
        raise ArbenchError(f"rates {bandwidth:g} and {matrix:g} are out of range (valid: above 0)")
    device, work = Device(bandwidth, matrix), Work.of(found)
    assert work is not None
    return {
        str(batch): {
            "tokens": tokens_seconds(work, device, batch),
            "decoder": decoder_seconds(work, device, batch),
        }
        for batch in BATCHES
    }


def in_words(found: Mapping[str, Any], every_step: bool = False) -> str:
    """The result of ``costs``, for a terminal. If it has ``floors`` (see ``floors_of``), they are shown."""
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
    if found["bytes"]:
        lines += [*_bytes_in_words(found["bytes"], found["precision"], every_step), ""]
    if "floors" in found:
        lines += [f"{'floor':<12}{'tokens ms':>12}{'decoder ms':>12}"]
        lines += [
            f"{f'batch {batch}':<12}{1e3 * floor['tokens']:>12,.2f}{1e3 * floor['decoder']:>12,.2f}"
            for batch, floor in found["floors"].items()
        ] + [""]
    published = sum(value for part, value in found["published"].items() if part != "tokenizer") / found["branches"]
    lines.append(f"as the published code computes it: {published / 1e9:,.2f} GMACs a branch for the tokens")
    branches = "both branches of guidance" if found["branches"] == 2 else "one branch, no guidance"
    lines.append(f"{branches}; tokenizer: the decoder and what sampling needs of the quantiser")
    lines += [found["convention"], *([found["bytes"]["convention"]] if found["bytes"] else [])]
    return "\n".join(lines)


def _bytes_in_words(read: Mapping[str, Any], precision: str, every_step: bool) -> list[str]:
    """The table of bytes. A batch reads the weights once, and a cache for each of its images."""
    rows = [("tokens", sum(read["weights"]), sum(read["cache"])), ("decoder", read["decoder"], 0.0)]
    if every_step:
        steps = zip(read["weights"], read["cache"], strict=True)
        rows += [(str(place), weights, cache) for place, (weights, cache) in enumerate(steps, 1)]
    head = f"{f'read, {precision}':<12}{'weights MB':>12}{'cache MB':>12}"
    return [head, *(f"{name:<12}{weights / 1e6:>12,.1f}{cache / 1e6:>12,.1f}" for name, weights, cache in rows)]


def _row(name: str, macs: float) -> str:
    return f"{name:<12}{macs / 1e9:>12,.3f}{2 * macs / 1e9:>12,.3f}"
