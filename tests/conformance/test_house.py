"""What holds for our own methods beside the suite: they meet on equal terms, by the published schedules."""

from typing import Any

import pytest
import torch

from harness import registry
from harness.checkpoints.tensors import read_about
from harness.conformance.fake_cuda import asked_of_the_host
from harness.conformance.subjects import (
    CONTENT,
    SPARSITY,
    Knobs,
    bundled_presets,
    images_of,
    names,
    preset_of,
    shallow,
    subject,
    trained,
    with_knobs,
)
from harness.errors import ArbenchError
from harness.method import Method

FFN: Knobs = {"ffn_sparsity": 0.5}
TOKEN: Knobs = {"token_sparsity": 0.5}
BOTH: Knobs = {**FFN, **TOKEN}
"""Settings of sparse methods. By default these are dense, which most of their code is not for."""


def published() -> list[Any]:
    """All presets that the suite does not cover, with what is computed by default; by a sparse method, half of its FFNs
    and tokens. The first of those presets also with either alone: what is computed at other sizes is the same."""
    found = []
    for name in names():
        owner = registry.get(name)
        sparse = {knob.name for knob in owner.knobs} >= set(SPARSITY)
        for number, preset in enumerate(one for one in owner.presets if one != preset_of(owner)):
            settings = [{}] if not sparse else [BOTH] if number else [FFN, TOKEN, BOTH]
            found += [pytest.param(name, preset, one, id="-".join([name, preset, *one])) for one in settings]
    return found


@pytest.mark.parametrize(("name", "preset", "given"), published())
def test_no_published_preset_asks_anything_of_the_host(name: str, preset: str, given: Knobs) -> None:
    owner = registry.get(name)
    with shallow(owner, preset):
        assert asked_of_the_host(owner, preset, given, precision="bf16") == []


@pytest.mark.parametrize("name", with_knobs("schedule", "steps"))
def test_schedule_changes_the_partition(name: str) -> None:
    method = subject(name)

    def sizes(schedule: str, steps: int) -> list[int]:
        return [len(part) for part in method.schedule(method.resolve({"schedule": schedule, "steps": steps}))]

    assert sizes("rings", 7) == sizes("growing", 7) == [1, 3, 5, 7, 9, 11, 13]
    assert sizes("equal", 7) == [7] * 7
    assert sizes("half-rings", 13) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7]
    with pytest.raises(ArbenchError, match="schedule rings takes 7 steps"):
        sizes("rings", 13)


@pytest.mark.parametrize("name", with_knobs(CONTENT))
def test_adaptive_takes_as_many_steps_as_its_threshold_asks_for(name: str) -> None:
    method = subject(name)
    images = list(range(16))
    assert images_of(method, images, {CONTENT: 300}).steps.tolist() == [7] * 16  # a ring a step at most
    assert images_of(method, images, {CONTENT: 1e-6}).steps.tolist() == [49] * 16
    between = [images_of(method, images, {CONTENT: threshold}).steps.double() for threshold in (1.0, 4.0, 10.0, 20.0)]
    assert all(more.mean() >= fewer.mean() for more, fewer in zip(between, between[1:], strict=False))
    assert any(steps.std() > 0 for steps in between), "images should differ in the steps they take"
    with pytest.raises(ArbenchError, match="cfg_schedule = constant"):
        images_of(method, [0], {CONTENT: 1.0}, cfg_schedule="ramp")
    with pytest.raises(ArbenchError):
        method.closed_form(method.resolve({CONTENT: 1.0}), method.preset.sampling)


@pytest.mark.parametrize("name", with_knobs(CONTENT))
def test_images_that_take_different_steps_do_not_disturb_each_other(name: str) -> None:
    method = trained(name)
    differing = False
    for threshold in (8.0, 15.0, 30.0):
        whole = images_of(method, list(range(28)), {CONTENT: threshold})
        parts = [images_of(method, list(range(i, i + 7)), {CONTENT: threshold}) for i in range(0, 28, 7)]
        assert (torch.cat([part.tokens for part in parts]) == whole.tokens).double().mean() >= 0.99
        assert (torch.cat([part.steps for part in parts]) == whole.steps).double().mean() >= 0.9
        differing |= len(set(whole.steps.tolist())) > 1
    assert differing


def bundled() -> list[type[Method]]:
    """Our own methods, which must meet on equal terms."""
    found = [registry.get(name) for name in names()]
    return [owner for owner in found if owner.__module__.split(".")[0] in ("baselines", "methods")]


def test_the_weights_of_our_methods_say_how_they_were_made() -> None:
    files = {path for owner in bundled() for preset in bundled_presets(owner) for path in owner.weight_files(preset)}
    assert sum(path.stat().st_size for path in files) < 25e6
    for path in files:
        about = read_about(path)
        assert isinstance(about["plan"]["seed"], int), path
        assert len(about["data"]) == 64, path
        assert about["commit"], path
        assert about["figures"], path


def test_our_methods_are_of_about_the_same_size() -> None:
    sizes = {}
    for owner in bundled():
        method = owner.build(preset_of(owner))
        if not {knob.name for knob in method.knobs} & set(SPARSITY):  # those add to a trained network
            sizes[owner.name] = sum(parameter.numel() for parameter in method.network.parameters())
    assert len(sizes) > 4
    assert max(sizes.values()) <= 1.1 * min(sizes.values()), sizes
