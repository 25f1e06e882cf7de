"""On a GPU a batch is captured once and replayed. A method that does not say that it cannot be captured must therefore
ask nothing of the host."""

from typing import Any

import pytest
import torch

from harness import registry
from harness.conformance.fake_cuda import asked_of_the_host
from harness.conformance.subjects import Knobs, cases, middle, names, preset_of, sampling_of, shallow, subject, trained
from harness.inputs import inputs
from harness.method import Method
from harness.sampling import Sampling


def complaint(name: str, given: Knobs, sampling: Sampling | None = None, precision: str = "fp32") -> str:
    """What a method asks of the host at these knobs, and the two ways out; empty if it asks nothing, or says that it
    cannot be captured."""
    owner, method = registry.get(name), subject(name)
    if not method.captures(method.resolve(given)):
        return ""
    with shallow(owner, preset_of(owner)):
        asked = asked_of_the_host(owner, preset_of(owner), given, sampling, precision)
    if not asked:
        return ""
    return (
        f"from the second batch on, {name} asks the host: {'; '.join(asked[:3])}. Tables can be made once and kept on "
        "the device. If the work really depends on what is generated, let captures() return False"
    )


@pytest.mark.parametrize(("name", "given"), cases(settings=middle))
def test_at_fixed_settings_a_method_asks_nothing_of_the_host(name: str, given: Knobs) -> None:
    """What cannot be captured says so, and is then not held to it."""
    method = subject(name)
    if method.captures(method.resolve(given)) and _adds_nothing(method, given):
        pytest.skip("it does what the defaults do, or takes more steps of the same kinds")
    assert complaint(name, given) == ""


def _adds_nothing(method: Method, given: Knobs) -> bool:
    """Whether a setting of numbers leaves the work as it is by default, or has more steps. Others take their time."""
    choices = {knob.name for knob in method.knobs if knob.kind == "choice"}
    if not given or choices & given.keys():
        return False
    knobs, usual, sampling = method.resolve(given), method.resolve({}), method.preset.sampling
    same = method.schedule(knobs) == method.schedule(usual)
    same &= method.closed_form(knobs, sampling) == method.closed_form(usual, sampling)
    return same or _steps(method, given) > _steps(method, {})


def _steps(method: Method, given: Knobs) -> int:
    return len(method.schedule(method.resolve(given)))


def _shortest(name: str) -> Knobs:
    """Of the settings that can be captured, the one with the fewest steps."""
    method = subject(name)
    able = [given for given in middle(registry.get(name)) if method.captures(method.resolve(given))]
    return min(able, key=lambda given: _steps(method, given), default={})


@pytest.mark.parametrize("name", names())
def test_no_way_of_drawing_asks_anything_of_the_host(name: str) -> None:
    """One of them in bf16, in which a method may take other ways as well."""
    method, given = subject(name), _shortest(name)
    assert complaint(name, given, sampling_of(method, cfg=1.0), "bf16") == ""
    assert complaint(name, given, sampling_of(method, cfg=2.0, cfg_schedule="ramp", top_k=5, top_p=0.9)) == ""


@pytest.mark.parametrize("changed", [{}, {"cfg": 3.0, "cfg_schedule": "ramp"}, {"cfg": 1.0}], ids=str)
@pytest.mark.parametrize("name", names())
def test_a_loop_gives_what_sampling_gives(name: str, changed: dict[str, Any]) -> None:
    method = trained(name)
    labels, noise = inputs(method, 3, range(16))
    knobs, sampling = method.resolve({}), sampling_of(method, **changed)
    loop = method.loop(labels, noise, knobs, sampling)
    if loop is None:
        pytest.skip(f"{name} has no loop")
    found, usual = loop.run(), method.sample(labels, noise, knobs, sampling)
    assert torch.equal(found.tokens, usual.tokens)
    assert torch.equal(found.steps, usual.steps)
