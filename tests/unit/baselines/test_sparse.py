"""Sparse VAR: what is skipped is exactly what the quotas say, and sampling computes what was trained."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.distillation import dense_pass, masked_logits
from baselines.experts import ExpertIndices, Experts, ExpertSelection
from baselines.sparse_method import SparseVAR
from baselines.sparse_var import Shape, Sparsity, top_mask
from baselines.var import FFN, VAR, Block
from harness import registry, traces
from harness.conformance.subjects import SPARSITY, step_logits, subject, with_knobs
from harness.inputs import inputs
from harness.method import Method
from harness.sampling import Sampling
from harness.stages.flops.counter import ExecutedCounter
from methods.actvar import balanced_clusters

sparse = pytest.mark.parametrize("name", with_knobs(*SPARSITY, "sparse_scales"))
settings_of = pytest.mark.parametrize(
    "given_knobs",
    [
        {"ffn_sparsity": 0.5},
        {"token_sparsity": 0.5},
        {"ffn_sparsity": 0.25, "token_sparsity": 0.75},
        {"ffn_sparsity": 0.9, "token_sparsity": 0.3, "sparse_scales": 6},
        {"ffn_sparsity": 0.57, "ffn_tilt": 1.5},
        {"ffn_sparsity": 0.2, "ffn_tilt": 4.0, "sparse_scales": 3},
    ],
    ids=str,
)


def sparse_method(name: str) -> SparseVAR:
    method = subject(name)
    assert isinstance(method, SparseVAR)
    return method


def dense_twin(method: SparseVAR) -> VAR:
    """VAR with the same backbone."""
    return VAR(method.preset, method.tokenizer, method.network, {})


@sparse
@settings_of
@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_sampling_draws_from_the_logits_that_distillation_trains(
    name: str, given_knobs: dict[str, float], cfg: float
) -> None:
    method = sparse_method(name)
    knobs = method.resolve(given_knobs)
    labels, noise = inputs(method, 3, [0, 1, 12])
    tokens, drawn_from = step_logits(method, knobs, Sampling(cfg=cfg, cfg_schedule="ramp"), labels, noise)
    branches = method.branches(labels, Sampling(cfg=cfg))
    seen = method.quantiser.inputs(tokens).repeat(len(branches) // len(labels), 1, 1)
    with torch.no_grad():
        sparsity = Sparsity.of(knobs, len(branches) // len(labels))
        trained = masked_logits(method.layer, dense_pass(method.network, seen, branches), sparsity)[0]
    assert (drawn_from - trained).abs().max() < 1e-4


def test_an_images_branches_agree_on_what_is_skipped() -> None:
    scores = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    agreed = Sparsity(0.5, 0.5, 2, branches=2).agree(scores)
    assert torch.equal(agreed[:3], agreed[3:])
    assert torch.allclose(agreed[1], (scores[1] + scores[4]) / 2)
    assert Sparsity(0.5, 0.5, 2).agree(scores) is scores


@sparse
def test_at_zero_sparsity_the_logits_are_vars(name: str) -> None:
    method = sparse_method(name)
    labels, noise = inputs(method, 3, [0, 1, 12])
    sampling = method.preset.sampling
    knobs = method.resolve({"ffn_sparsity": 0.0, "token_sparsity": 0.0})
    tokens, logits = step_logits(method, knobs, sampling, labels, noise)
    expected_tokens, expected = step_logits(dense_twin(method), {}, sampling, labels, noise)
    assert torch.equal(tokens, expected_tokens)
    assert (logits - expected).abs().max() <= 1e-5


@sparse
def test_the_scales_before_the_sparse_ones_are_dense(name: str) -> None:
    method = sparse_method(name)
    labels, noise = inputs(method, 3, [4])
    for scales in (1, 3):
        knobs = method.resolve({"ffn_sparsity": 0.5, "token_sparsity": 0.5, "sparse_scales": scales})
        start = method.network.span(len(method.network.scales) - scales).start
        _, logits = step_logits(method, knobs, Sampling(), labels, noise)
        _, expected = step_logits(dense_twin(method), {}, Sampling(), labels, noise)
        assert torch.equal(logits[:, :start], expected[:, :start])
        assert not torch.allclose(logits[:, start:], expected[:, start:], atol=1e-3)


@sparse
def test_units_may_be_put_in_any_order(name: str) -> None:
    torch.manual_seed(0)
    method = registry.get(name).build("fmnist")
    assert isinstance(method, SparseVAR)
    ffn = method.network.blocks[1].ffn
    x = torch.randn(2, 5, method.network.dim)
    with torch.no_grad():
        before = ffn(x)
        method.layer.unit_order.copy_(torch.stack([torch.randperm(384) for _ in method.network.blocks]))
        method.layer.arrange()
        assert torch.allclose(ffn(x), before, atol=1e-5)


def block_of(method: Method) -> Block:
    assert isinstance(method, SparseVAR)
    return method.network.blocks[0]


def shape_of(images: int, branches: int, tokens: int, ffn: float = 0.0) -> Shape:
    return Shape(images, branches, tokens, Sparsity(ffn, 0.0, 2, branches), torch.device("cpu"))


def test_all_experts_together_are_the_dense_ffn() -> None:
    block = block_of(subject("actvar"))
    x = torch.randn(3, 7, 96)
    with torch.no_grad():
        indices = ExpertIndices.of(12, 7, shape_of(3, 1, 7))
        everything = Experts(block.ffn, 12)(x, torch.arange(7).expand(12, 3, -1), indices)
        assert torch.allclose(everything, block.ffn(x), atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from((1, 2)))
def test_tokens_that_an_expert_does_not_compute_get_and_cost_nothing(seed: int, count: int, branches: int) -> None:
    block = block_of(subject("actvar"))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3 * branches, 5, 96, generator=generator)
    tokens = torch.rand(12, 3, 5, generator=generator).argsort(-1)[..., :count]
    ours, indices = Experts(block.ffn, 12), ExpertIndices.of(12, count, shape_of(3, branches, 5))
    with torch.no_grad(), ExecutedCounter(subject("actvar"), otherwise="ffn") as counter:
        found = ours(x, tokens, indices)
    assert counter.count.macs == len(x) * 12 * count * 2 * 96 * 32
    chosen = torch.zeros(12, 3, 5, dtype=torch.bool).scatter(2, tokens, 1).permute(1, 2, 0).repeat(branches, 1, 1)
    with torch.no_grad():
        assert torch.allclose(found, masked(block.ffn, x, chosen), atol=1e-4)


@pytest.mark.parametrize("name", ["actvar", "actvar-random"])
def test_each_expert_computes_the_tokens_of_its_highest_scores(name: str) -> None:
    method = sparse_method(name)
    selection, block = method.layer.selections[0], method.layer.blocks[0]
    assert isinstance(selection, ExpertSelection)
    x, places = torch.randn(4, 25, 96, generator=torch.Generator().manual_seed(0)), torch.arange(30, 55)
    with torch.no_grad(), traces.listening(4) as trace:
        out = selection.partial_ffn(block, shape_of(2, 2, 25, ffn=0.6))(x, places)
        scores = selection.pair_scores(x, places).unflatten(0, (2, 2)).mean(0)
    computed = next(iter(trace.experts.values()))[0][1]
    assert computed.sum(1).unique().tolist() == [10]
    assert computed.shape == scores.shape
    assert (scores.masked_fill(~computed, torch.inf).amin(1) >= scores.masked_fill(computed, -torch.inf).amax(1)).all()
    with torch.no_grad():
        assert torch.allclose(out, masked(block.ffn, x, computed.repeat(2, 1, 1)), atol=1e-4)


def masked(ffn: FFN, x: Tensor, chosen: Tensor) -> Tensor:
    hidden = torch.nn.functional.gelu(ffn.fc1(x), approximate="tanh")
    return ffn.fc2(hidden * chosen.repeat_interleave(32, -1))


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 500))
def test_quotas_are_the_rounded_shares_and_at_least_one(share: float, count: int) -> None:
    quota = Sparsity(share, share, 2)
    for kept in (quota.kept_tokens(count), quota.kept_units(count)):
        assert kept >= 1
        assert kept <= count
        assert abs(kept - (1 - share) * count) <= max(0.5, 1 - (1 - share) * count) + 1e-9
    assert Sparsity(0.0, 0.0, 2).kept_tokens(count) == count


@given(
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 4),
    st.lists(st.integers(1, 256), min_size=1, max_size=10).map(sorted),
)
def test_a_tilt_lets_larger_scales_keep_more_and_leaves_the_whole_as_it_is(
    share: float, tilt: float, tokens: list[int]
) -> None:
    kept = [1 - scale.ffn for scale in Sparsity(share, 0.0, len(tokens), tilt=tilt).over(tokens)]
    assert all(-1e-9 <= one <= 1 + 1e-9 for one in kept)
    assert all(one <= other + 1e-9 for one, other in zip(kept, kept[1:], strict=False))
    whole = sum(one * count for one, count in zip(kept, tokens, strict=True))
    assert whole == pytest.approx((1 - share) * sum(tokens))


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_the_highest_scores_are_kept(count: int, seed: int) -> None:
    scores = torch.randn(4, 30, generator=torch.Generator().manual_seed(seed))
    mask = top_mask(scores, count)
    assert mask.sum(1).tolist() == [count] * 4
    assert (scores.masked_fill(~mask, torch.inf).amin(1) >= scores.masked_fill(mask, -torch.inf).amax(1)).all()


def test_clusters_are_balanced_and_gather_what_is_alike() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 6)) * 10
    truth = rng.permutation(np.repeat(np.arange(4), 8))
    rows = (centres[truth] + 0.1 * rng.normal(size=(32, 6))).astype(np.float32)
    best = min(
        (balanced_clusters(rows, 4, seed) for seed in range(8)),
        key=lambda order: sum(rows[order[i : i + 8]].var(0).sum() for i in range(0, 32, 8)),
    )
    assert sorted(best) == list(range(32))
    assert all(len(set(truth[best[i : i + 8]])) == 1 for i in range(0, 32, 8))
