"""Costs are the method's. They are the same on a CPU, on the meta device and on CUDA, where steps may be padded."""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from baselines.raster import Raster
from harness import registry
from harness.conformance.subjects import preset_of
from harness.inputs import inputs
from harness.method import Method
from harness.sampling import Sampling
from harness.stages.flops import costs as costs_module
from harness.stages.flops import counter
from harness.stages.flops.costs import _all, costs
from harness.stages.flops.counter import Count, ExecutedCounter, closed_form, count_image
from tests.helpers.fakes import FakeMethod


def counted(owner: type[Method], device: str) -> tuple[Any, ...]:
    """MACs and bytes of one image, step by step and of the decoder. CUDA's tensors are fake and have no values."""
    preset = preset_of(owner)
    with FakeTensorMode(allow_non_fake_inputs=True) if device == "cuda" else torch.no_grad(), torch.device(device):
        method = owner.build(preset).eval()
        sampled, decoded = count_image(method, owner.resolve({}, preset), method.preset.sampling, 0, 0)
    return told(sampled), told(decoded)


def told(count: Count) -> tuple[Any, ...]:
    return dict(count.by_part), count.by_step, count.weights_by_step, count.cache_by_step


@pytest.mark.parametrize("name", registry.names())
def test_a_method_costs_the_same_on_every_device(name: str) -> None:
    owner = registry.get(name)
    on_cpu = counted(owner, "cpu")
    assert on_cpu[0][0]["ffn"] > 0
    assert counted(owner, "meta") == on_cpu
    assert counted(owner, "cuda") == on_cpu


def test_rasters_padded_loop_does_more_than_is_counted_and_its_plain_sampling_as_much() -> None:
    method, sampling = Raster.build("fmnist").eval(), Raster.presets["fmnist"].sampling
    labels, noise = inputs(method, 0, [0])
    loop = method.loop(labels, noise, {}, sampling)
    with torch.no_grad(), ExecutedCounter(method) as padded:
        loop.run()
    with torch.no_grad(), ExecutedCounter(method) as plain:
        method.sample(labels, noise, {}, sampling)
    wanted, _ = count_image(method, {}, sampling, 0, 0)
    assert told(plain.count) == told(wanted)
    assert padded.count.macs > wanted.macs
    form = closed_form(method, {}, sampling)
    assert form is not None and wanted.macs == sum(form.values()) - form["tokenizer"]


def test_what_a_command_counts_of_a_few_steps_is_the_closed_form_of_all() -> None:
    preset = Raster.presets["imagenet256-b"]
    found = costs(Raster, preset.name, {}, preset.sampling, precision="bf16")
    assert sum(found["by_step"]) + found["decoder_macs"] == sum(found["macs"].values())
    assert len(found["by_step"]) == len(found["bytes"]["cache"]) == 256
    steps = [sum(step.values()) for step in found["steps"]]
    assert found["by_step"] == steps


def test_a_few_steps_stand_for_all_only_if_costs_grow_evenly_with_the_kind() -> None:
    kinds, ran = [2, 3, 4, 5, 6], [2, 4, 6]
    assert _all(kinds, ran, [7, 20, 40, 60]) == [7, 20, 30, 40, 50, 60]
    assert _all(kinds, ran, [7, 20, 50, 60]) == []
    assert _all([2, 4, 2], [2, 4], [7, 20, 50]) == [7, 20, 50, 20]  # all kinds ran


def test_without_a_loop_each_operator_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter inside a counter would take twice as long."""
    depths: list[int] = []

    class Noting(ExecutedCounter):
        def __torch_dispatch__(self, *given: Any, **named: Any) -> Any:
            depths.append(len(torch.utils._python_dispatch._get_current_dispatch_mode_stack()))
            return super().__torch_dispatch__(*given, **named)

    for place in (costs_module, counter):
        monkeypatch.setattr(place, "ExecutedCounter", Noting)
    costs(FakeMethod, "tiny", FakeMethod.resolve({}), Sampling(), precision="fp32")
    assert depths and set(depths) == {0}  # the counter itself is taken off while it works
