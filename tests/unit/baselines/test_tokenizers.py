"""Tokenizers: shapes, the residual arithmetic of scales, moving-average codes, and what the bundled ones reach."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.tokenizers.recipes import BUILDERS, load_tokenizer, tokenizer_weights
from baselines.tokenizers.vq import Codebook, MultiScaleQuantiser, Tokenizer, multi_scale, single_scale
from harness.checkpoints.tensors import read_about
from harness.images.datasets import reference_images
from harness.stages.flops.counter import ExecutedCounter

POSITIONS = {"vq-fmnist": 49, "msvq-fmnist": 104}
tokenizers = pytest.mark.parametrize("make", [single_scale, multi_scale])
bundled = pytest.mark.parametrize("name", sorted(BUILDERS))


def built(make: Callable[[], Tokenizer]) -> Tokenizer:
    torch.manual_seed(0)
    return make().eval().requires_grad_(False)


def quantiser_of(tokenizer: Tokenizer) -> MultiScaleQuantiser:
    assert isinstance(tokenizer.quantiser, MultiScaleQuantiser)
    return tokenizer.quantiser


MULTI = built(multi_scale)
QUANTISER = quantiser_of(MULTI)


def random_tokens(tokenizer: Tokenizer, seed: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(tokenizer.vocabulary, (count, tokenizer.positions), generator=generator)


@tokenizers
def test_images_become_tokens_and_tokens_images(make: Callable[[], Tokenizer]) -> None:
    tokenizer = built(make)
    tokens = tokenizer.encode(torch.rand(3, 1, 28, 28))
    assert tokens.shape == (3, tokenizer.positions)
    assert tokens.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < tokenizer.vocabulary == 512
    images = tokenizer.decode(tokens)
    assert images.shape == (3, 1, 28, 28)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


@tokenizers
def test_decoding_costs_what_the_closed_form_says(make: Callable[[], Tokenizer]) -> None:
    tokenizer = built(make)
    with ExecutedCounter(tokenizer) as counter:
        tokenizer.decode(random_tokens(tokenizer, 0, 1))
    assert counter.count.macs == tokenizer.decode_macs()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_the_last_canvas_is_the_sum_of_what_the_scales_add(seed: int) -> None:
    tokens = random_tokens(MULTI, seed)
    canvas = torch.zeros(2, 16, 7, 7)
    for scale, part in enumerate(QUANTISER.split(tokens)):
        canvas = canvas + QUANTISER.grow(part, scale)
    assert torch.allclose(canvas, QUANTISER.lookup(tokens), atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_inputs_are_the_canvases_before_each_scale_averaged_down(seed: int) -> None:
    tokens = random_tokens(MULTI, seed)
    seen = QUANTISER.inputs(tokens)
    assert seen.shape == (2, 103, 16)
    start = 0
    for scale in range(1, 6):
        # All later tokens are dropped: they must not have been seen.
        canvas = torch.stack([QUANTISER.grow(QUANTISER.split(tokens)[k], k) for k in range(scale)]).sum(0)
        side = QUANTISER.scales[scale]
        expected = torch.nn.functional.adaptive_avg_pool2d(canvas, side).flatten(2).transpose(1, 2)
        assert torch.allclose(seen[:, start : start + side * side], expected, atol=1e-5)
        start += side * side


def test_encoding_quantises_the_residual_of_the_scales_before() -> None:
    torch.manual_seed(1)
    z = torch.randn(2, 16, 7, 7)
    quantised = QUANTISER(z)
    assert torch.allclose(quantised.vectors, QUANTISER.lookup(quantised.tokens), atol=1e-5)
    rest = z
    for scale, part in enumerate(QUANTISER.split(quantised.tokens)):
        side = QUANTISER.scales[scale]
        small = torch.nn.functional.adaptive_avg_pool2d(rest, side).permute(0, 2, 3, 1).flatten(0, 2)
        nearest = torch.cdist(small, QUANTISER.codebook.codes).argmin(1).view(2, -1)
        assert (nearest == part).double().mean() > 0.98  # ties within rounding
        rest = rest - QUANTISER.grow(part, scale)


def test_a_single_scale_code_is_its_own_nearest() -> None:
    quantiser = built(single_scale).quantiser
    tokens = random_tokens(built(single_scale), 3)
    assert torch.equal(quantiser(quantiser.lookup(tokens)).tokens, tokens)


def test_gradients_pass_the_quantiser_straight_through() -> None:
    z = torch.randn(1, 16, 7, 7, requires_grad=True)
    built(single_scale).quantiser(z).vectors.sum().backward()
    assert z.grad is not None
    assert torch.equal(z.grad, torch.ones_like(z))


def test_neighbouring_scales_share_phis_as_var_spreads_them() -> None:
    used = [list(QUANTISER.phis).index(QUANTISER.phi(scale)) for scale in range(6)]
    assert used == sorted(used)
    assert set(used) == {0, 1, 2, 3}


def test_codes_move_to_the_mean_of_the_vectors_that_chose_them() -> None:
    torch.manual_seed(0)
    book = Codebook(2, 3)
    ones, twos = torch.full((50, 3), 1.0), torch.full((50, 3), -2.0)
    vectors, index = torch.cat([ones, twos]), torch.tensor([0] * 50 + [1] * 50)
    for _ in range(1500):
        book.learn(vectors, index, torch.ones(100), torch.Generator().manual_seed(0))
    assert torch.allclose(book.codes, torch.tensor([[1.0] * 3, [-2.0] * 3]), atol=1e-4)


def test_a_code_out_of_use_restarts_at_a_vector_of_the_batch() -> None:
    torch.manual_seed(0)
    book = Codebook(4, 2)
    vectors = torch.randn(64, 2)
    for _ in range(600):
        book.learn(vectors, torch.zeros(64, dtype=torch.int64), torch.ones(64), torch.Generator().manual_seed(1))
    for code in book.codes[1:]:
        assert (vectors - code).norm(dim=1).min() < 1e-3


@bundled
def test_the_bundled_tokenizer_states_the_floor_under_every_score(name: str) -> None:
    figures = read_about(tokenizer_weights(name))["figures"]
    assert 0 < figures["rfid"] < 10
    assert figures["codebook_use"] >= 0.9
    assert 0 < figures["l1"] < 0.1
    assert figures["psnr"] > 20


@bundled
def test_the_bundled_tokenizer_reconstructs_as_its_metadata_say(name: str) -> None:
    tokenizer = load_tokenizer(name)
    assert not tokenizer.training
    assert tokenizer.positions == POSITIONS[name]
    images = reference_images("fmnist").images[:500].float() / 255
    with torch.inference_mode():
        error = (tokenizer.decode(tokenizer.encode(images)) - images).abs().mean()
    assert float(error) == pytest.approx(read_about(tokenizer_weights(name))["figures"]["l1"], rel=0.05)
