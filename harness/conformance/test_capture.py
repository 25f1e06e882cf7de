"""On a GPU a batch is captured once and replayed. A method that does not say that it cannot be captured must therefore
ask nothing of the host."""

from typing import Any

import pytest

from harness import registry
from harness.conformance.fake_cuda import asked_of_the_host
from harness.conformance.subjects import Knobs, by_content, cases, names, preset_of, sampling_of, subject


def captured(name: str, given: Knobs) -> bool:
    method = subject(name)
    return method.captures(method.resolve(given))


@pytest.mark.parametrize(("name", "given"), cases())
def test_at_fixed_settings_a_method_asks_nothing_of_the_host(name: str, given: Knobs) -> None:
    """What cannot be captured says so, and is then not held to it."""
    owner = registry.get(name)
    assert asked_of_the_host(owner, preset_of(owner), given) == [] or not captured(name, given)


@pytest.mark.parametrize(("name", "given"), cases(lambda given: not given or by_content(given)))
def test_in_bf16_a_method_asks_nothing_of_the_host(name: str, given: Knobs) -> None:
    owner = registry.get(name)
    assert asked_of_the_host(owner, preset_of(owner), given, precision="bf16") == [] or not captured(name, given)


@pytest.mark.parametrize("name", names())
def test_no_way_of_drawing_asks_anything_of_the_host(name: str) -> None:
    owner = registry.get(name)
    changed: list[dict[str, Any]] = [{"cfg": 1.0}, {"cfg": 2.0, "cfg_schedule": "ramp", "top_k": 5, "top_p": 0.9}]
    for sampling in changed:
        made = sampling_of(subject(name), **sampling)
        assert asked_of_the_host(owner, preset_of(owner), {}, made) == []
