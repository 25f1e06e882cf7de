"""On a GPU a batch is captured once and replayed. A method that does not say that it cannot be captured must therefore
ask nothing of the host."""

from typing import Any

import pytest
import torch

from harness import registry
from harness.conformance.fake_cuda import asked_of_the_host
from harness.conformance.subjects import Knobs, by_content, cases, names, preset_of, sampling_of, subject, trained
from harness.inputs import inputs


def complaint(name: str, given: Knobs, precision: str = "fp32") -> str:
    """What a method asks of the host at these knobs, and the two ways out; empty if it asks nothing, or says that it
    cannot be captured."""
    owner, method = registry.get(name), subject(name)
    if not method.captures(method.resolve(given)):
        return ""
    asked = asked_of_the_host(owner, preset_of(owner), given, precision=precision)
    if not asked:
        return ""
    return (
        f"from the second batch on, {name} asks the host: {'; '.join(asked[:3])}. Tables can be made once and kept on "
        "the device. If the work really depends on what is generated, let captures() return False"
    )


@pytest.mark.parametrize(("name", "given"), cases())
def test_at_fixed_settings_a_method_asks_nothing_of_the_host(name: str, given: Knobs) -> None:
    """What cannot be captured says so, and is then not held to it."""
    assert complaint(name, given) == ""


@pytest.mark.parametrize(("name", "given"), cases(lambda given: not given or by_content(given)))
def test_in_bf16_a_method_asks_nothing_of_the_host(name: str, given: Knobs) -> None:
    assert complaint(name, given, "bf16") == ""


@pytest.mark.parametrize("name", names())
def test_no_way_of_drawing_asks_anything_of_the_host(name: str) -> None:
    owner, method = registry.get(name), subject(name)
    if not method.captures(method.resolve({})):
        pytest.skip(f"{name} says that it cannot be captured")
    changed: list[dict[str, Any]] = [{"cfg": 1.0}, {"cfg": 2.0, "cfg_schedule": "ramp", "top_k": 5, "top_p": 0.9}]
    for sampling in changed:
        made = sampling_of(method, **sampling)
        assert asked_of_the_host(owner, preset_of(owner), {}, made) == []


@pytest.mark.parametrize("name", names())
def test_a_loop_gives_what_sampling_gives(name: str) -> None:
    method = trained(name)
    labels, noise = inputs(method, 3, range(16))
    knobs, sampling = method.resolve({}), method.preset.sampling
    loop = method.loop(labels, noise, knobs, sampling)
    if loop is None:
        pytest.skip(f"{name} has no loop")
    found, usual = loop.run(), method.sample(labels, noise, knobs, sampling)
    assert torch.equal(found.tokens, usual.tokens)
    assert torch.equal(found.steps, usual.steps)
