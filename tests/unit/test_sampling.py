"""Guidance and drawing: the formulas, their ends, and that draws follow the distribution."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.errors import ArbenchError
from harness.sampling import Sampling, _largest, draw, guide
from tests.helpers.drawing import written_out

rows = hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(2, 40)), elements=st.floats(-8, 8, width=32))
chance = st.floats(0, 1, exclude_max=True)


def evenly(count: int) -> torch.Tensor:
    """Uniforms at the middles of ``count`` equal bins: drawing with them gives exact shares."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def shares(logits: torch.Tensor, sampling: Sampling, count: int = 20000) -> torch.Tensor:
    """How often each token is drawn."""
    drawn = draw(logits.expand(count, -1), evenly(count), sampling)
    return torch.bincount(drawn, minlength=len(logits)).double() / count


def test_draws_follow_the_softmax() -> None:
    logits = torch.tensor([1.0, -2.0, 0.5, 3.0, -torch.inf])
    assert torch.allclose(shares(logits, Sampling()), logits.double().softmax(-1), atol=1e-4)
    halved = Sampling(temperature=0.5)
    assert torch.allclose(shares(logits, halved), (logits.double() * 2).softmax(-1), atol=1e-4)


@given(rows, chance)
def test_a_draw_is_where_the_cumulative_distribution_passes_the_uniform(logits: np.ndarray, uniform: float) -> None:
    tokens = draw(torch.from_numpy(logits), torch.full((len(logits),), uniform, dtype=torch.float64), Sampling())
    cdf = torch.from_numpy(logits).double().softmax(-1).cumsum(-1)
    for row, token in enumerate(tokens.tolist()):
        before = float(cdf[row, token - 1]) if token else 0.0
        assert before - 1e-6 <= uniform <= float(cdf[row, token]) + 1e-6


@given(rows, st.tuples(chance, chance))
def test_a_larger_uniform_never_gives_an_earlier_token(logits: np.ndarray, pair: tuple[float, float]) -> None:
    low, high = (torch.full((len(logits),), value, dtype=torch.float64) for value in sorted(pair))
    tensor = torch.from_numpy(logits)
    assert (draw(tensor, low, Sampling()) <= draw(tensor, high, Sampling())).all()


@given(rows, chance)
def test_top_k_of_one_is_the_largest_logit(logits: np.ndarray, uniform: float) -> None:
    tensor = torch.from_numpy(logits)
    drawn = draw(tensor, torch.full((len(logits),), uniform, dtype=torch.float64), Sampling(top_k=1))
    assert torch.equal(tensor.gather(1, drawn[:, None])[:, 0], tensor.amax(1))


def test_top_k_keeps_the_k_largest_and_their_proportions() -> None:
    logits = torch.tensor([0.0, 3.0, 1.0, 2.0])
    expected = torch.tensor([-torch.inf, 3.0, -torch.inf, 2.0]).double().softmax(-1)
    assert torch.allclose(shares(logits, Sampling(top_k=2)), expected, atol=1e-4)
    for off in (0, 4, 9000):
        assert torch.allclose(shares(logits, Sampling(top_k=off)), logits.double().softmax(-1), atol=1e-4)


def test_top_p_keeps_the_fewest_tokens_whose_mass_reaches_p() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()
    assert torch.allclose(shares(logits, Sampling(top_p=0.4)), torch.tensor([0, 1.0, 0, 0]).double(), atol=1e-4)
    two = torch.tensor([0, 0.5, 0, 0.25]).double() / 0.75
    assert torch.allclose(shares(logits, Sampling(top_p=0.7)), two, atol=1e-4)
    assert torch.allclose(shares(logits, Sampling(top_p=1.0)), logits.double().exp(), atol=1e-4)


@given(rows, chance, st.floats(0.01, 1), st.integers(0, 15))
def test_truncation_never_leaves_nothing_nor_takes_the_best(
    logits: np.ndarray, uniform: float, top_p: float, top_k: int
) -> None:
    tensor = torch.from_numpy(logits)
    first = draw(tensor, torch.zeros(len(logits), dtype=torch.float64), Sampling(top_p=top_p, top_k=top_k))
    drawn = draw(tensor, torch.full((len(logits),), uniform, dtype=torch.float64), Sampling(top_p=top_p, top_k=top_k))
    assert ((drawn >= first) & (drawn < logits.shape[1])).all()
    if top_k:
        kth = tensor.sort(dim=1, descending=True).values[:, min(top_k, logits.shape[1]) - 1]
        assert (tensor.gather(1, drawn[:, None])[:, 0] >= kth).all()


def few_values(logits: torch.Tensor) -> torch.Tensor:
    """Whole numbers, so that most logits of a row are equal to others."""
    return logits.mul(1.5).round()


def repeated(logits: torch.Tensor) -> torch.Tensor:
    """A third of a row is one and the same logit."""
    logits = logits.clone()
    logits[:, ::3] = logits[:, :1]
    return logits


def in_bf16(logits: torch.Tensor) -> torch.Tensor:
    return logits.bfloat16().float()


def half_impossible(logits: torch.Tensor) -> torch.Tensor:
    return torch.where(logits < 0, -torch.inf, logits).index_fill(-1, torch.tensor([0]), 0.0)


KINDS = (torch.clone, few_values, repeated, in_bf16, half_impossible, torch.zeros_like)
"""Kinds of logits: two in three have ties."""


def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy finds the largest logits."""


def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """topk finds the largest logits, as on a GPU and in compiled code."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr("harness.sampling.np", None)


@pytest.mark.parametrize("branch", [on_a_cpu, on_a_gpu])
@pytest.mark.parametrize("size", [7, 512, 4096])
def test_ten_thousand_rows_are_drawn_as_the_definition_says(
    branch: Callable[[pytest.MonkeyPatch], None], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch(monkeypatch)
    generator = torch.Generator().manual_seed(size)
    rows = 55
    drawn = differing = 0
    for kind in KINDS:
        for top_k in (0, 1, size // 4, 900):
            for top_p in (1.0, 0.96, 0.9999, 0.61):
                for temperature in (1.0, 0.7):
                    logits = kind(3 * torch.randn(rows, size, generator=generator))
                    uniform = torch.rand(rows, generator=generator, dtype=torch.float64)
                    asked = Sampling(top_k=top_k, top_p=top_p, temperature=temperature)
                    differing += int((draw(logits, uniform, asked) != written_out(logits, uniform, asked)).sum())
                    drawn += rows
    assert drawn > 10_000
    assert differing == 0


def test_both_branches_of_the_largest_logits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    for kind in KINDS:
        logits = kind(3 * torch.randn(50, 300, generator=generator))
        for few in (1, 75, 300):
            with monkeypatch.context() as patch:
                by_numpy = _largest(logits, few)
                on_a_gpu(patch)
                assert torch.equal(_largest(logits, few), by_numpy)


@pytest.mark.parametrize("asked", [{}, {"top_k": 900}, {"top_p": 0.9}, {"top_k": 900, "top_p": 0.96}], ids=str)
def test_on_a_gpu_the_host_waits_for_no_value_of_a_draw(asked: dict[str, Any]) -> None:
    with FakeTensorMode():  # a value that the host asks for is an error
        logits = torch.empty(64, 256, 4096, device="cuda")
        drawn = draw(logits, torch.empty(64, 256, dtype=torch.float64, device="cuda"), Sampling(**asked))
    assert drawn.shape == (64, 256)
    assert drawn.device.type == "cuda"


def test_a_uniform_next_to_one_still_gives_a_token() -> None:
    logits = torch.zeros(3, 512)
    last = torch.full((3,), np.nextafter(1.0, 0.0), dtype=torch.float64)
    assert draw(logits, last, Sampling()).tolist() == [511] * 3


def test_impossible_tokens_are_never_drawn() -> None:
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf])
    assert set(draw(logits.expand(1000, -1), evenly(1000), Sampling()).tolist()) == {1, 3}
    assert draw(logits[None], torch.zeros(1, dtype=torch.float64), Sampling()).tolist() == [1]
    scattered = torch.full((100,), -torch.inf)
    scattered[[17, 40, 41, 90]] = 0.0
    assert set(draw(scattered.expand(1000, -1), evenly(1000), Sampling()).tolist()) == {17, 40, 41, 90}


def test_a_batch_of_any_shape_is_drawn_row_by_row() -> None:
    logits, uniform = torch.randn(3, 5, 7), torch.rand(3, 5, dtype=torch.float64)
    drawn = draw(logits, uniform, Sampling(top_k=4, top_p=0.9))
    assert drawn.shape == (3, 5)
    assert drawn.dtype == torch.int64
    assert torch.equal(drawn[1, 2], draw(logits[1:2, 2], uniform[1:2, 2], Sampling(top_k=4, top_p=0.9))[0])


@given(st.floats(0, 20))
def test_guidance_goes_from_the_unconditional_logits_through_those_of_the_class(cfg: float) -> None:
    sampling = Sampling(cfg=cfg)
    both = torch.randn(4, 3, 6)
    cond, uncond = both[:2], both[2:]
    if not sampling.guided:
        both = cond
    assert torch.allclose(guide(both, sampling, 3, 7), uncond + cfg * (cond - uncond), atol=1e-5)


def test_guidance_of_one_takes_a_single_branch() -> None:
    logits = torch.randn(2, 5)
    assert not Sampling(cfg=1.0).guided
    assert torch.equal(guide(logits, Sampling(cfg=1.0), 0, 4), logits)
    assert Sampling(cfg=0.0).guided


def test_the_ramp_goes_from_one_at_the_first_step_to_cfg_at_the_last() -> None:
    ramp = Sampling(cfg=2.5, cfg_schedule="ramp")
    assert [ramp.scale(step, 4) for step in range(4)] == [1.0, 1.5, 2.0, 2.5]
    assert ramp.scale(0, 1) == 1.0
    assert [Sampling(cfg=2.5).scale(step, 4) for step in range(4)] == [2.5] * 4


def test_linear_guidance_begins_with_the_first_step_and_ends_at_cfg() -> None:
    """MUSE's and MAR's: 1 + (cfg - 1) times what is decided when the step is over."""
    linear = Sampling(cfg=3.0, cfg_schedule="linear")
    assert [linear.scale(step, 4) for step in range(4)] == [1.5, 2.0, 2.5, 3.0]
    assert linear.scale(0, 1) == 3.0


@pytest.mark.parametrize(("power", "middle"), [(1.0, 2.0), (2.0, 1 + (1 - 0.5**0.5)), (1e-6, 3.0)])
def test_power_cosine_guidance_rises_along_a_bent_half_wave(power: float, middle: float) -> None:
    """MDT's and RAR's: half a cosine wave over (step / steps)^power."""
    bent = Sampling(cfg=3.0, cfg_schedule="power-cosine", cfg_power=power)
    scales = [bent.scale(step, 100) for step in range(100)]
    assert scales[0] == 1.0
    assert scales == sorted(scales)
    assert scales[50] == pytest.approx(middle, abs=1e-4)
    assert scales[-1] < 3.0


def test_a_power_that_would_do_nothing_is_refused() -> None:
    with pytest.raises(ArbenchError, match="cfg_power = 2.0 does nothing with cfg_schedule = ramp"):
        Sampling(cfg=2.0, cfg_schedule="ramp", cfg_power=2.0)


def test_vars_cfg_is_one_less_than_ours() -> None:
    """VAR: (1 + t) c - t u with t = cfg * step / (steps - 1)."""
    both = torch.randn(2, 9)
    cond, uncond = both
    for step in range(10):
        t = 1.5 * step / 9
        ours = guide(both, Sampling(cfg=2.5, cfg_schedule="ramp"), step, 10)
        assert torch.allclose(ours[0], (1 + t) * cond - t * uncond, atol=1e-6)


def test_half_precision_logits_are_guided_in_single_precision() -> None:
    assert guide(torch.randn(4, 3).bfloat16(), Sampling(cfg=3.0), 0, 1).dtype == torch.float32


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cfg": -1}, "cfg = -1 is out of range .valid: 0 to 100"),
        ({"cfg": float("nan")}, "cfg = nan is out of range"),
        ({"temperature": 0}, "temperature = 0 is out of range"),
        ({"top_k": -1}, "top_k = -1 is out of range"),
        ({"top_p": 0}, "top_p = 0 is out of range"),
        ({"top_p": 1.1}, "top_p = 1.1 is out of range"),
        ({"cfg_schedule": "power-cosine", "cfg_power": 0}, "cfg_power = 0 is out of range"),
        ({"cfg_schedule": "rampp"}, "unknown cfg_schedule 'rampp'; did you mean 'ramp'"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ArbenchError, match=said):
        Sampling(**wrong)
