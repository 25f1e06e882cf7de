"""Tests of the methods' knobs. The tests check these claims:

- Every knob has an effect.
- Sampling takes as many steps as the knob ``steps`` says.
- The value of a knob for sparsity is the share of the work that is skipped.
- Wrong values are refused.
"""

from typing import Any

import pytest
import torch

from harness import registry
from harness.conformance.subjects import (
    SPARSITY,
    Knobs,
    images_of,
    names,
    sampling_of,
    subject,
    values,
    with_knobs,
)
from harness.errors import ArbenchError
from harness.inputs import inputs
from harness.method import Method
from harness.stages.flops.counter import count_image

every_method = pytest.mark.parametrize("name", names())
every_sparse_method = pytest.mark.parametrize("name", with_knobs(*SPARSITY, "sparse_scales"))


@every_method
def test_every_knob_changes_something(name: str) -> None:
    method = subject(name)

    def seen(given: Knobs) -> tuple[Any, ...]:
        knobs = method.resolve(given)
        labels, noise = inputs(method, 3, [0, 1])
        made = method.sample(labels, noise, knobs, method.preset.sampling)
        return method.schedule(knobs), made.steps.tolist(), made.tokens.tolist()

    sparse: Knobs = {knob.name: 0.5 for knob in method.knobs if knob.name in SPARSITY}
    for knob in method.knobs:
        settings = [
            {"steps": 7, knob.name: value} if knob.name == "schedule" else {knob.name: value} for value in values(knob)
        ]
        outcomes = []
        for given in settings:
            try:
                outcomes.append(seen({**sparse, **given}))
            except ArbenchError:  # this value needs another number of steps
                continue
        assert len(outcomes) > 1
        assert any(outcome != outcomes[0] for outcome in outcomes), knob.name


@pytest.mark.parametrize("name", with_knobs("steps"))
def test_steps_is_the_number_of_steps(name: str) -> None:
    method = subject(name)
    (knob,) = (knob for knob in method.knobs if knob.name == "steps")
    tokens = []
    for steps in values(knob):
        made = images_of(method, [0, 1], {"steps": steps})
        assert made.steps.tolist() == [steps, steps]
        tokens.append(made.tokens)
    assert not torch.equal(tokens[0], tokens[-1])


def executed(method: Method, **given: Any) -> dict[str, int]:
    """MACs that run when image 0 is sampled without guidance: a dict from each part of the network to the part's MACs.
    Decoding is not counted."""
    return dict(count_image(method, method.resolve(given), sampling_of(method, cfg=1.0), 0, 0)[0].by_part)


def share_in_sparse_scales(method: Method, scales: int) -> float:
    """The share of all tokens that belong to the final scales.

    scales: how many scales count as final
    """
    sizes = [len(part) for part in method.schedule(method.resolve({}))]
    return sum(sizes[len(sizes) - scales :]) / sum(sizes)


@every_sparse_method
@pytest.mark.parametrize("knob", SPARSITY)
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.75])
def test_sparsity_is_the_share_of_ffn_work_that_does_not_run(name: str, knob: str, sparsity: float) -> None:
    method = subject(name)
    scales = int(method.resolve({})["sparse_scales"])
    none = dict.fromkeys(SPARSITY, 0.0)
    whole = executed(method, **none, sparse_scales=scales)
    less = executed(method, **{**none, knob: sparsity}, sparse_scales=scales)
    expected = 1 - sparsity * share_in_sparse_scales(method, scales)
    assert less["ffn"] / whole["ffn"] == pytest.approx(expected, abs=0.02)
    assert sum(less.values()) < sum(whole.values())
    if knob == "token_sparsity":
        assert less["attention"] < whole["attention"]
    else:
        assert less["attention"] == whole["attention"]


@every_sparse_method
def test_sparsity_changes_tokens_and_zero_sparsity_costs_nothing(name: str) -> None:
    method = subject(name)
    none: Knobs = dict.fromkeys(SPARSITY, 0.0)
    assert executed(method, **none).get("router", 0) == 0
    whole = images_of(method, [0, 1, 2], none).tokens
    for knob in SPARSITY:
        assert not torch.equal(images_of(method, [0, 1, 2], {**none, knob: 0.5}).tokens, whole)


@every_sparse_method
def test_more_sparse_scales_run_less(name: str) -> None:
    method = subject(name)
    (knob,) = (knob for knob in method.knobs if knob.name == "sparse_scales")
    assert knob.low is not None
    assert knob.high is not None
    counts = [
        sum(executed(method, ffn_sparsity=0.5, token_sparsity=0.5, sparse_scales=scales).values())
        for scales in range(int(knob.low), int(knob.high) + 1)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


@every_method
def test_a_wrong_knob_is_named_with_what_is_valid(name: str) -> None:
    owner = registry.get(name)
    with pytest.raises(ArbenchError, match=f"unknown knob of {name} 'no-such-knob'.*valid"):
        owner.resolve({"no-such-knob": 1})
    for knob in owner.knobs:
        wrong: list[Any] = ["no such value", None, True, float("nan")]
        if knob.kind != "choice":
            assert knob.low is not None
            assert knob.high is not None
            wrong += [knob.low - 1, knob.high + 1, *([knob.high] if knob.open_high else [])]
            wrong += [knob.low + 0.5] if knob.kind == "int" else []
        for value in wrong:
            with pytest.raises(ArbenchError, match=f"knob {knob.name} = .*valid: "):
                owner.resolve({knob.name: value})
