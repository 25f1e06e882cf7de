"""Helpers of the conformance suite. They build methods with random weights, list settings of the methods' knobs, and
give the tokens and logits that the methods compute."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.errors import ArbenchError
from harness.inputs import inputs
from harness.method import Generated, Knob, KnobValue, Method
from harness.sampling import Sampling, guide

COMPANIONS: dict[tuple[str, KnobValue], dict[str, KnobValue]] = {
    ("schedule", "rings"): {"steps": 7},
    ("schedule", "half-rings"): {"steps": 13},
}
"""(knob, value) -> the values that other knobs must have if the knob has this value."""

CONTENT = "adaptive"
"""The knob that makes the number of steps depend on what is generated."""

SPARSITY = ("ffn_sparsity", "token_sparsity")

FEWEST = 16
"""Least number of rows with which an image is compared with itself in a larger batch. With fewer rows a CPU sums its
matrix products in another order, and one image in two hundred came out different, because one of its draws fell next to
a border."""

Knobs = dict[str, KnobValue]


def names() -> list[str]:
    """The methods under test: all that are installed."""
    return registry.names()


def preset_of(owner: type[Method]) -> str:
    """The preset under test: the first one in the method's ``presets``."""
    return next(iter(owner.presets))


def bundled_presets(owner: type[Method]) -> list[str]:
    """The presets whose weights come with the method; others are published elsewhere."""
    return [preset for preset in owner.presets if not owner.weight_sources(preset)]


def with_knobs(*knobs: str) -> list[str]:
    """The methods under test that have all of these knobs."""
    found = []
    for name in names():
        try:
            found += [name] if {knob.name for knob in registry.get(name).knobs} >= set(knobs) else []
        except ArbenchError:  # other tests fail for it
            continue
    return found


def cases(
    wanted: Callable[[Knobs], bool] = lambda given: True, settings: Callable[[type[Method]], list[Knobs]] | None = None
) -> list[Any]:
    """Parameters for a pytest test: pairs of a method's name and a dict of knobs. Each method under test gets one pair
    for each dict that the function ``settings`` returns for the method; None stands for ``moved``.

    wanted: takes a dict of knobs, and says whether its pair is kept

    A method that cannot be imported gets one pair, with an empty dict. The test with this pair fails.
    """
    found = []
    for name in names():
        try:
            given = (settings or moved)(registry.get(name))
        except ArbenchError:
            given = [{}]
        found += [pytest.param(name, knobs, id=f"{name}-{_words(knobs)}") for knobs in given if wanted(knobs)]
    return found


def by_content(given: Knobs) -> bool:
    """Whether these knobs make the computation depend on each image's content."""
    return any(given.get(knob) for knob in (CONTENT, *SPARSITY))


def _words(knobs: Knobs) -> str:
    return ",".join(f"{name}={value}" for name, value in knobs.items()) or "defaults"


def moved(owner: type[Method]) -> list[Knobs]:
    """The settings in which a method is tested. A setting is a dict from the names of knobs to their values.

    The first setting is empty. Each further setting gives one knob one of its ``values``, other than the knob's
    default. Some values require certain values of other knobs (COMPANIONS). The setting then holds these values, too.
    """
    alone = [{knob.name: value} for knob in owner.knobs for value in values(knob) if value != knob.default]
    return [{}, *({**COMPANIONS.get(next(iter(knobs.items())), {}), **knobs} for knobs in alone)]


def values(knob: Knob) -> list[KnobValue]:
    """The values with which a knob is tested. For a knob with choices: all choices. For a knob with a range: the lower
    end, the middle and the upper end.

    If the range excludes its upper end, a value a little below the upper end is taken.
    """
    if knob.kind == "choice":
        return list(knob.choices)
    assert knob.low is not None
    assert knob.high is not None
    step = 1 if knob.kind == "int" else (knob.high - knob.low) / 8
    high = knob.high - step if knob.open_high else knob.high
    middle = (knob.low + high) / 2
    return [knob.check(value) for value in (knob.low, int(middle) if knob.kind == "int" else middle, high)]


def middle(owner: type[Method]) -> list[Knobs]:
    """The settings of ``moved`` that say something about the kinds of work: each choice, and of a range the middle."""
    ends = [(knob.name, value) for knob in owner.knobs if knob.kind != "choice" for value in values(knob)[::2]]
    return [given for given in moved(owner) if len(given) != 1 or next(iter(given.items())) not in ends]


@contextmanager
def shallow(owner: type[Method], preset: str) -> Iterator[None]:
    """Inside the ``with``, the preset has two layers in place of all, if it states how many it has and if the method
    can be built so. Layers are alike, so that what holds for two of them holds for all."""
    found, presets = owner.preset_named(preset), owner.presets
    layers = found.network.get("layers")
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(layers, int) and layers > 2:
            small = replace(found, network={**found.network, "layers": 2})
            patch.setattr(owner, "presets", {**presets, preset: small})
            try:
                with torch.device("meta"):
                    owner.build(preset)
            except Exception:  # it needs all of its layers
                patch.undo()
        yield


def dense(knobs: Mapping[str, KnobValue]) -> Knobs:
    """The same knobs, with every sparsity (the knobs in SPARSITY) set to 0."""
    return {name: 0.0 if name in SPARSITY else value for name, value in knobs.items()}


@cache
def subject(name: str) -> Method:
    """The method, with random weights that let every input influence the output.

    The initial weights of a training are not suitable. With them, the residual branches add almost nothing. A wrong
    value in a cache of the network would then hardly change the output, and the tests would not notice it.
    """
    owner = registry.get(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        method = owner.build(preset_of(owner)).eval()
        for module in method.children():
            if module is not method.tokenizer:
                liven(module)
    return method


@cache
def trained(name: str) -> Method:
    """The method with its bundled weights; with random weights if none are bundled."""
    owner = registry.get(name)
    preset = preset_of(owner)
    return owner.load(preset) if owner.weight_files(preset) else subject(name)


@torch.no_grad()
def liven(network: nn.Module) -> None:
    """Draw new weights for a network. They are large enough that every input influences the logits."""
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            module.weight.normal_()
        elif isinstance(module, nn.Linear):
            module.weight.normal_(std=1.5 * module.in_features**-0.5)
            if module.bias is not None:
                module.bias.normal_(std=0.1)
    for own in network.parameters():
        if own.ndim == 3:  # embeddings that are bare parameters: mask token, positions
            own.normal_()


def in_batch(method: Method, indices: list[int], knobs: Mapping[str, KnobValue]) -> Generated:
    """Like ``images_of``, but with at least FEWEST rows: the last image is repeated. The result does not contain the
    repeated rows."""
    rows = [indices[min(row, len(indices) - 1)] for row in range(max(FEWEST, len(indices)))]
    made = images_of(method, rows, knobs)
    return Generated(made.tokens[: len(indices)], made.steps[: len(indices)])


def images_of(method: Method, indices: list[int], knobs: Mapping[str, KnobValue], **sampling: Any) -> Generated:
    """Sample the images with these indices, with seed 3.

    sampling: fields that differ from the preset's sampling
    """
    return method.sample(*inputs(method, 3, indices), method.resolve(knobs), sampling_of(method, **sampling))


def sampling_of(method: Method, **changed: Any) -> Sampling:
    """The preset's sampling, with these fields changed."""
    default = method.preset.sampling
    fields = {name: getattr(default, name) for name in default.__dataclass_fields__}
    return Sampling(**{**fields, **changed})


def step_logits(
    method: Method, knobs: Knobs, sampling: Sampling, labels: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Sample with a method. Returns the tokens [B, positions], and the logits [B or 2B, positions, V] from which the
    tokens were drawn. The logits are recorded before guidance is applied."""
    with recorded(method) as seen:
        tokens = method.sample(labels, noise, knobs, sampling).tokens
    found = torch.full((len(seen[0]), method.positions, method.vocabulary), torch.nan)
    for logits, places in zip(seen, method.schedule(knobs), strict=True):
        found[:, places] = logits.unflatten(0, (len(found), -1)).flatten(1, -2) if logits.ndim > 2 else logits[:, None]
    return tokens, found


@contextmanager
def recorded(method: Method) -> Iterator[list[Tensor]]:
    """Record the logits that a method passes to ``guide``, as long as the ``with`` block runs.

    Yields a list, which gets one tensor for each step of sampling. Skips the test if the method does not use ``guide``.
    """
    names_of_sample = inspect.unwrap(type(method).sample).__globals__
    if names_of_sample.get("guide") is not guide:
        pytest.skip(f"{method.name} does not sample through harness.sampling.guide")
    seen: list[Tensor] = []

    def listening(logits: Tensor, *rest: Any) -> Tensor:
        seen.append(logits.clone())
        return guide(logits, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(names_of_sample, "guide", listening)
        yield seen


@torch.no_grad()
def teacher_forced(method: Method, tokens: Tensor, labels: Tensor, knobs: Knobs) -> Tensor:
    """Logits [B, positions, V] of all tokens, computed in one pass by the network's method ``logits``.

    If the method ``logits`` has a parameter ``seen``, the tokenizer first turns the tokens into the network's inputs.
    If it has a parameter ``sizes``, this parameter gets a list: the number of tokens that are decided at each step of
    sampling. If the network has no method ``logits``, the test is skipped.
    """
    network: Any = method.network
    if not hasattr(network, "logits"):
        pytest.skip(f"{method.name} has no network.logits")
    asked = inspect.signature(network.logits).parameters
    if "seen" in asked:
        tokenizer: Any = method.tokenizer
        return network.logits(tokenizer.quantiser.inputs(tokens), labels)
    sizes = {"sizes": [len(part) for part in method.schedule(knobs)]} if "sizes" in asked else {}
    return network.logits(tokens, labels, **sizes)
