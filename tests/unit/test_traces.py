"""How images came about: what a trace says is what was computed, and to listen changes nothing."""

import numpy as np
import pytest
import torch

from harness import traces
from harness.conformance.subjects import subject
from harness.inputs import inputs
from harness.method import Method
from harness.sampling import Sampling

GUIDED = Sampling(cfg=2.0)


def traced(method: Method, knobs: dict[str, object], images: int = 3) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    """Tokens of five images, and the trace of the first ones."""
    whole = type(method).resolve(knobs, method.preset.name)
    with traces.listening(images) as trace:
        tokens = method.sample(*inputs(method, 0, range(5)), whole, GUIDED).tokens
    return tokens, trace.arrays(method, whole)


def test_a_fixed_schedule_is_the_trace() -> None:
    method = subject("ear")
    _, found = traced(method, {"steps": 4})
    order = found["trace order"]
    assert order.shape == (3, method.positions)
    for step, places in enumerate(method.schedule(type(method).resolve({"steps": 4}, method.preset.name))):
        assert np.flatnonzero(order[0] == step).tolist() == sorted(places)


def test_adaptive_lengths_are_traced_image_by_image() -> None:
    method = subject("ear")
    knobs = type(method).resolve({"adaptive": 60.0}, method.preset.name)
    with traces.listening(3) as trace:
        generated = method.sample(*inputs(method, 0, range(5)), knobs, GUIDED)
    order = trace.arrays(method, knobs)["trace order"]
    assert (order.max(axis=1) + 1).tolist() == generated.steps[:3].tolist()
    spiral = method.schedule(type(method).resolve({"steps": 49}, method.preset.name))
    along = order[:, [place for part in spiral for place in part]]
    assert (np.diff(along, axis=1) >= 0).all(), "along the spiral no place is decided before an earlier one"


@pytest.mark.parametrize("name", ["actvar", "actvar-random", "var-static"])
def test_sparse_methods_tell_exactly_their_quotas(name: str) -> None:
    method = subject(name)
    _, found = traced(method, {"ffn_sparsity": 0.5, "token_sparsity": 0.5, "sparse_scales": 1})
    side = method.grids[-1]
    tokens = found["trace tokens"]
    assert tokens[..., : -side * side].all(), "dense scales are computed whole"
    computed = tokens[..., -side * side :].sum(axis=-1)
    assert (computed == round(0.5 * side * side)).all()
    if name == "var-static":
        assert "trace experts" not in found
        return
    experts, count = found["trace experts"], int(found["trace experts_of"])
    bits = np.sum([(experts >> place) & 1 for place in range(count)], axis=0)
    assert (bits[..., -side * side :].sum(axis=-1) == 0.5 * computed * count).all()
    assert not experts[tokens == 0].any()


@pytest.mark.parametrize(("name", "knobs"), [("ear", {"adaptive": 60.0}), ("actvar", {"token_sparsity": 0.5})])
def test_listening_changes_no_token(name: str, knobs: dict[str, object]) -> None:
    method = subject(name)
    heard, _ = traced(method, knobs)
    alone = method.sample(*inputs(method, 0, range(5)), type(method).resolve(knobs, method.preset.name), GUIDED).tokens
    assert torch.equal(heard, alone)
    assert not traces.heard()


def test_a_method_that_does_not_say_where_its_positions_lie_has_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    method = subject("raster")
    monkeypatch.setattr(type(method), "grids", ())
    assert traced(method, {})[1] == {}
