"""Tests of every registered method. They check the properties that the harness and the sweeps need in a method."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from harness import registry
from harness.conformance.subjects import (
    CONTENT,
    SPARSITY,
    Knobs,
    bundled_presets,
    by_content,
    cases,
    dense,
    images_of,
    in_batch,
    names,
    preset_of,
    recorded,
    sampling_of,
    step_logits,
    subject,
    teacher_forced,
    trained,
    values,
)
from harness.errors import ArbenchError
from harness.hashing import sha256
from harness.inputs import inputs
from harness.method import PARTS
from harness.setup import in_precision
from harness.stages.flops.agreement import agreement
from harness.stages.flops.counter import closed_form, count_image

every_method = pytest.mark.parametrize("name", names())
every_setting = pytest.mark.parametrize(("name", "given"), cases())
GUIDED = [pytest.param(1.0, id="unguided"), pytest.param(2.5, id="guided")]


@every_method
def test_it_says_what_it_is(name: str) -> None:
    owner = registry.get(name)
    assert owner.name == name
    for about in (owner.title, owner.family, owner.differences):
        assert about and "\n" not in about
    assert owner.presets
    for word, preset in owner.presets.items():
        assert preset.name == word
        assert preset.classes > 0
    for knob in owner.knobs:
        assert knob.help and "\n" not in knob.help
        assert knob.check(knob.default) == knob.default


@every_method
def test_positions_fill_the_grids_that_it_names(name: str) -> None:
    method = subject(name)
    if method.grids:  # grids are optional: without them there is no decode order to show
        assert sum(side * side for side in method.grids) == method.positions


@every_setting
def test_tokens_and_images_have_their_shapes_and_ranges(name: str, given: Knobs) -> None:
    method = subject(name)
    made = images_of(method, [0, 1, 11], given)
    assert made.tokens.shape == (3, method.positions)
    assert made.tokens.dtype == torch.int64
    assert made.tokens.min() >= 0
    assert made.tokens.max() < method.vocabulary
    assert made.steps.shape == (3,)
    assert made.steps.dtype == torch.int64
    assert made.steps.min() >= 1
    assert made.steps.max() <= method.positions
    images = method.decode(made.tokens)
    assert images.shape == (3, *method.preset.image)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


@every_setting
def test_the_schedule_covers_every_position_once(name: str, given: Knobs) -> None:
    method = subject(name)
    schedule = method.schedule(method.resolve(given))
    assert all(schedule)
    assert sorted(place for part in schedule for place in part) == list(range(method.positions))
    if not given.get(CONTENT):
        assert images_of(method, [5], given).steps.tolist() == [len(schedule)]


@pytest.mark.parametrize(("name", "given"), cases(lambda given: not given or by_content(given)))
def test_an_image_is_the_same_at_every_batch_size(name: str, given: Knobs) -> None:
    method = trained(name)
    whole = images_of(method, list(range(64)), given)
    for size, count in ((1, 10), (7, 28)):
        parts = [in_batch(method, list(range(64))[i : i + size], given) for i in range(0, count, size)]
        tokens = torch.cat([part.tokens for part in parts])[:count]
        assert (tokens == whole.tokens[:count]).double().mean() >= 0.999
        assert (torch.cat([part.steps for part in parts])[:count] == whole.steps[:count]).double().mean() >= 0.95
    together, alone = method.decode(whole.tokens[:7]), method.decode(whole.tokens[3:4])
    torch.testing.assert_close(together[3:4], alone, atol=1e-5, rtol=0)


@every_method
def test_the_order_of_images_in_a_batch_does_not_matter(name: str) -> None:
    method = trained(name)
    order = [17, 4, 63, 0, 8, 21, 30]
    ordered = images_of(method, sorted(order), {})
    mixed = images_of(method, order, {})
    assert (mixed.tokens == ordered.tokens[torch.tensor(order).argsort().argsort()]).double().mean() >= 0.999


@every_method
def test_noise_is_the_only_source_of_chance(name: str) -> None:
    method = subject(name)
    labels, noise = inputs(method, 3, [0, 1, 2])
    given = labels.clone(), noise.clone()
    knobs = method.resolve({knob.name: values(knob)[1] for knob in method.knobs if knob.name in SPARSITY})
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        made.append(method.sample(labels, noise, knobs, method.preset.sampling).tokens)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*made)
    assert torch.equal(labels, given[0])
    assert torch.equal(noise, given[1])


@every_method
def test_noise_class_and_guidance_all_matter(name: str) -> None:
    method = subject(name)
    labels, noise = inputs(method, 3, [0, 1, 2, 3])
    knobs, sampling = method.resolve({}), sampling_of(method, cfg=2.0)
    tokens = method.sample(labels, noise, knobs, sampling).tokens
    others = {
        "noise": method.sample(labels, noise.flip(0), knobs, sampling).tokens,
        "class": method.sample((labels + 1) % method.preset.classes, noise, knobs, sampling).tokens,
        "guidance": method.sample(labels, noise, knobs, sampling_of(method, cfg=4.0)).tokens,
        "temperature": method.sample(labels, noise, knobs, sampling_of(method, cfg=2.0, temperature=0.5)).tokens,
    }
    for what, other in others.items():
        assert (other != tokens).any(1).all(), what


@every_method
def test_without_guidance_one_branch_is_computed(name: str) -> None:
    method = subject(name)
    knobs = method.resolve({})
    one, _ = count_image(method, knobs, sampling_of(method, cfg=1.0), 0, 0)
    two, _ = count_image(method, knobs, sampling_of(method, cfg=2.5), 0, 0)
    for part in set(two.by_part) - {"tokenizer"}:
        assert two.by_part[part] == 2 * one.by_part[part], part


@every_setting
@pytest.mark.parametrize("cfg", GUIDED)
def test_the_closed_form_is_what_runs(name: str, given: Knobs, cfg: float) -> None:
    method = subject(name)
    knobs, sampling = method.resolve(given), sampling_of(method, cfg=cfg)
    form = closed_form(method, knobs, sampling)
    if form is None:
        assert knobs.get(CONTENT), "only what depends on content may lack a closed form"
        return
    assert set(form) <= set(PARTS)
    sampled, decoded = count_image(method, knobs, sampling, 0, 0)
    ran = sampled.by_part + decoded.by_part
    for part in set(form) | set(ran):
        assert form.get(part, 0) == pytest.approx(ran[part], rel=0.005), part


@pytest.mark.parametrize(("name", "given"), cases(lambda given: not given or by_content(given)))
def test_all_counters_of_flops_agree_dense_and_sparse(name: str, given: Knobs) -> None:
    method = subject(name)
    found = agreement(method, method.resolve(given), method.preset.sampling)
    assert set(found) >= {"executed", "fvcore", "torch"}
    assert given.get(CONTENT) or "closed form" in found
    for counter, macs in found.items():
        assert macs == pytest.approx(found["executed"], rel=0.005), counter


@pytest.mark.parametrize(("name", "given"), cases(lambda given: not by_content(given)))
@pytest.mark.parametrize("cfg", GUIDED)
def test_sampling_with_a_cache_draws_from_the_teacher_forced_logits(name: str, given: Knobs, cfg: float) -> None:
    method = subject(name)
    knobs, (labels, noise) = method.resolve(dense(method.resolve(given))), inputs(method, 3, [0, 1, 12])
    tokens, drawn_from = step_logits(method, knobs, sampling_of(method, cfg=cfg), labels, noise)
    branches = labels if cfg == 1 else torch.cat([labels, torch.full_like(labels, method.preset.classes)])
    forced = teacher_forced(method, tokens.repeat(len(branches) // len(labels), 1), branches, knobs)
    assert forced.std(0).mean() > 0.1, "these weights would hide a faulty cache"
    assert (drawn_from - forced).abs().max() <= 1e-4


@every_method
def test_an_unknown_preset_is_named_with_the_valid_ones(name: str) -> None:
    owner = registry.get(name)
    for make in (owner.build, owner.load):
        with pytest.raises(ArbenchError, match=f"unknown preset of {name} 'nowhere'.*valid: {preset_of(owner)}"):
            make("nowhere")


@every_method
def test_build_reads_no_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a weights file was opened")

    monkeypatch.setattr("harness.checkpoints.tensors.load_file", refuse)
    monkeypatch.setattr("harness.checkpoints.tensors.safe_open", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    owner = registry.get(name)
    method = owner.build(preset_of(owner))
    assert not method.provenance.weights
    assert sum(parameter.numel() for parameter in method.parameters()) > 0


@every_method
def test_bf16_rounds_and_changes_nothing_else(name: str) -> None:
    exact = trained(name)
    rounded = copy.deepcopy(exact)
    in_precision(rounded, "bf16")
    assert {own.dtype for own in rounded.network.parameters()} == {torch.bfloat16}
    first = []
    for method in (exact, rounded):
        with recorded(method) as seen:
            made = images_of(method, [0, 1, 2], {})
        assert made.tokens.dtype == torch.int64
        assert method.decode(made.tokens).dtype == torch.float32
        first.append(seen[0].float())
    assert (first[1] - first[0]).norm() < 0.05 * first[0].norm()
    sparse = {knob.name: 0.5 for knob in exact.knobs if knob.name in SPARSITY}
    if sparse:
        assert images_of(rounded, [0, 1, 2], sparse).tokens.max() < exact.vocabulary


@every_method
@pytest.mark.parametrize("fault", ["missing", "truncated", "another network's"])
def test_weights_that_do_not_fit_are_told_by_file_and_fault(name: str, fault: str, tmp_path: Path) -> None:
    owner = registry.get(name)
    path = tmp_path / "damaged.safetensors"
    whole = save({"weight": torch.zeros(100)})
    if fault != "missing":
        path.write_bytes(whole[:200] if fault == "truncated" else whole)
    with pytest.raises(ArbenchError, match="damaged.safetensors"):
        owner.load(preset_of(owner), path)


@every_method
def test_the_bundled_weights_load_and_tell_where_they_came_from(name: str) -> None:
    owner = registry.get(name)
    for word in bundled_presets(owner):
        written = owner.weight_files(word)
        method = owner.load(word)
        assert not method.training
        assert {Path(file).name: digest for file, digest in method.provenance.weights.items()} == {
            path.name: sha256(path) for path in written
        }
        made = images_of(method, [0, 1], {})
        assert torch.isfinite(method.decode(made.tokens)).all()


@every_setting
def test_what_is_declared_the_same_is_the_same(name: str, given: Knobs) -> None:
    """A method can declare, by ``same_as``, that a trial of the method is the same as a trial of another method.

    The test checks that both trials have the same tokens, bit for bit, and the same MACs in each part of the
    network. Each method runs with the weights that come with it.
    """
    one, knobs = trained(name), trained(name).resolve(given)
    same = one.same_as(knobs, one.preset.name)
    if same is None:
        return
    other = registry.get(same[0]).load(one.preset.name)
    assert other.preset.data == one.preset.data
    assert other.provenance.weights.items() <= one.provenance.weights.items()
    for cfg in (1.0, 2.5):  # without guidance, and with it
        sampling = sampling_of(one, cfg=cfg)
        labels, noise = inputs(one, 3, list(range(16)))
        made = [method.sample(labels, noise, own, sampling) for method, own in ((one, knobs), (other, same[1]))]
        assert torch.equal(made[0].tokens, made[1].tokens)
        assert torch.equal(made[0].steps, made[1].steps)
        assert torch.equal(one.decode(made[0].tokens), other.decode(made[1].tokens))
        costs = [count_image(method, own, sampling, 3, 0) for method, own in ((one, knobs), (other, same[1]))]
        assert [part.by_part for part in costs[0]] == [part.by_part for part in costs[1]]
