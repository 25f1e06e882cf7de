"""The bytes that steps read are counted on what ran, by hand-computed figures: weights, keys and values."""

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.linear import LARGE, ONEDNN, Linear
from baselines.raster import Raster
from baselines.single_scale import SingleScale
from baselines.var import VAR
from baselines.var_static import VARStatic
from harness.method import KnobValue, Method
from harness.sampling import Sampling
from harness.setup import in_precision
from harness.stages.flops import stage as flops
from harness.stages.flops.costs import costs
from harness.stages.flops.counter import Count, ExecutedCounter, count_image
from methods.actvar import ActVAR
from methods.ear import EAR
from tests.helpers.fakes import FakeMethod, PartLinear

FLOAT = 4
WIDTH, HEADS, STEPS = 8, 2, 4


def counted(root: nn.Module, work: Callable[[], object], otherwise: str | None = None) -> Count:
    with torch.inference_mode(), ExecutedCounter(root, otherwise) as counter:
        work()
    return counter.count


def stored(cache: list[Tensor], new: Tensor, step: int) -> Tensor:
    """A cache with a slot for every step, into which each step writes."""
    if not cache:
        cache.append(new.new_zeros(len(new), HEADS, STEPS, WIDTH // HEADS))
    cache[0][:, :, step : step + 1] = new
    return cache[0][:, :, : step + 1]


def scattered(cache: list[Tensor], new: Tensor, step: int) -> Tensor:
    """The same, with the place in a tensor."""
    if not cache:
        cache.append(new.new_zeros(len(new), HEADS, STEPS, WIDTH // HEADS))
    cache[0].scatter_(2, torch.full((1, 1, 1, 1), step, device=new.device).expand_as(new), new)
    return cache[0][:, :, : step + 1]


def appended(cache: list[Tensor], new: Tensor, step: int) -> Tensor:
    """A cache that grows."""
    cache[:] = [torch.cat([*cache, new], 2)]
    return cache[0]


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, torch.zeros(1, 1, 1, k.shape[2], device=q.device))


def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2) + torch.zeros(1, 1, 1, k.shape[2], device=q.device)).softmax(-1) @ v


class Attention(nn.Module):
    """Attention over all steps so far."""

    part = "attention"

    def __init__(self, keep: Callable[..., Tensor], attend: Callable[..., Tensor]) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.keep, self.attend = keep, attend

    def forward(self, x: Tensor, caches: tuple[list[Tensor], list[Tensor]], step: int) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        k, v = (self.keep(cache, new, step) for cache, new in zip(caches, (k, v), strict=True))
        return self.attend(q, k, v).transpose(1, 2).flatten(2)


class Network(nn.Module):
    """One attention layer, norms and a head, step by step."""

    def __init__(self, keep: Callable[..., Tensor], attend: Callable[..., Tensor]) -> None:
        super().__init__()
        self.token = nn.Embedding(50, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = Attention(keep, attend)
        self.head = PartLinear("head", WIDTH, 5)

    def sample(self, rows: int, device: str = "cpu") -> None:
        caches: tuple[list[Tensor], list[Tensor]] = ([], [])
        token = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        for step in range(STEPS):
            x = self.norm(self.token(token))
            token = self.head(x + self.attention(x, caches, step)).argmax(-1)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("attend", [fused, explicit])
@pytest.mark.parametrize("keep", [stored, scattered, appended])
def test_a_step_reads_its_weights_once_and_the_keys_and_values_of_the_steps_before(
    keep: Callable[..., Tensor], attend: Callable[..., Tensor], device: str, rows: int
) -> None:
    network = Network(keep, attend).to(device)
    found = counted(network, lambda: network.sample(rows, device))
    once = FLOAT * (2 * WIDTH + 3 * WIDTH * (WIDTH + 1) + 5 * (WIDTH + 1))  # the embedding is only looked up
    assert found.weights_by_step == [once] * STEPS
    assert found.cache_by_step == [step * rows * 2 * WIDTH * FLOAT for step in range(STEPS)]


def test_half_the_precision_is_half_the_bytes() -> None:
    network = Network(stored, fused)
    whole, half = counted(network, lambda: network.sample(1)), counted(network.bfloat16(), lambda: network.sample(1))
    assert [2 * one for one in half.weights_by_step] == whole.weights_by_step
    assert [2 * one for one in half.cache_by_step] == whole.cache_by_step


class Weights(nn.Module):
    """Weights for work that reads some of them."""

    part = "ffn"

    def __init__(self, work: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(12, 8))
        self.register_buffer("scale", torch.ones(12, 8, dtype=torch.int8))
        self.scale: Tensor
        self.work = work

    def forward(self, x: Tensor) -> Tensor:
        return self.work(x, self.weight)


def experts(x: Tensor, weight: Tensor) -> Tensor:
    """Three experts of 4 rows; the first has both tokens, the others none."""
    return torch.cat([part @ one.t() for part, one in zip(x.split((2, 0, 0)), weight.split(4), strict=True)])


# name -> (work on a [2, 8] matrix and a [12, 8] weight, elements of the weight that are read)
READ: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int]] = {
    "whole": (lambda x, w: x @ w.t(), 96),
    "linear": (F.linear, 96),
    "twice": (lambda x, w: F.linear(x, w) + F.linear(2 * x, w), 96),
    "both ways": (lambda x, w: F.linear(x, w) @ w, 96),
    "rows": (lambda x, w: F.linear(x, w[3:7]), 32),
    "columns": (lambda x, w: F.linear(x[:, :2], w[:, :2]), 24),
    "two parts": (lambda x, w: F.linear(x, w[:3]) @ w[5:8], 48),
    "overlapping parts are no more than the whole": (lambda x, w: F.linear(x, w[:9]).sum() + F.linear(x, w[3:]), 96),
    "a part in another shape": (lambda x, w: F.linear(x, w[:4]) + F.linear(x, w[:4].view(2, 2, 8).flatten(0, 1)), 32),
    "selected rows": (lambda x, w: F.linear(x, w[torch.tensor([0, 5, 6])]), 24),
    "rows selected more than once are no more than the whole": (
        lambda x, w: F.linear(x, w.index_select(0, torch.arange(40) % 12)),
        96,
    ),
    "experts without tokens": (experts, 32),
    "added": (lambda x, w: x + w[:2], 16),
    "looked up": (lambda x, w: x + F.embedding(torch.tensor([0, 1]), w), 0),
    "repeated along a batch": (lambda x, w: torch.bmm(x.expand(5, 2, 8), w.t().expand(5, 8, 12)), 96),
    "looked at but not read": (lambda x, w: x * w.shape[0], 0),
}


@pytest.mark.parametrize("name", READ)
def test_of_a_weight_counts_what_is_read(name: str) -> None:
    work, elements = READ[name]
    module = Weights(work)
    found = counted(module, lambda: module(torch.ones(2, 8)))
    assert found.weights_by_step == [elements * FLOAT]


def test_weights_in_buffers_count_with_their_own_size() -> None:
    module = Weights(lambda x, w: x)
    found = counted(module, lambda: F.linear(torch.ones(2, 8), module.scale.to(torch.float32)), "ffn")
    assert found.weights_by_step == [12 * 8]


def test_weights_that_no_module_holds_are_found_as_operands() -> None:
    hidden = torch.ones(6, 8)
    module = Weights(lambda x, w: x @ hidden.t())
    found = counted(module, lambda: (module(torch.ones(2, 8)), module(torch.ones(2, 8))))
    assert found.weights_by_step == [6 * 8 * FLOAT]


@pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN")
def test_packed_weights_count_as_much_as_plain_ones() -> None:
    layer = Linear(512, LARGE // 512, bias=False)
    layer.pack()
    found = counted(layer, lambda: layer(torch.ones(8, 512)), "ffn")
    assert layer.packed is not None and found.weights_by_step == [LARGE * FLOAT]


@pytest.mark.parametrize("cfg", [1.0, 1.5])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_record_has_the_bytes_of_each_step_and_of_the_decoder(cfg: float, steps: int) -> None:
    method, knobs = FakeMethod.load("tiny"), FakeMethod.resolve({"steps": steps})
    read = flops.count(method, knobs, Sampling(cfg=cfg), seed=0)["bytes"]
    assert read["weights"] == [2 * (64 + 8) * FLOAT] * steps  # FFN and head; both branches read them together
    assert read["cache"] == [0] * steps
    assert read["decoder"] == (16 + 4) * FLOAT
    assert "once a step" in read["convention"] and "activations" in read["convention"]


@pytest.mark.parametrize("method", [Raster, EAR])
@pytest.mark.parametrize("cfg", [1.0, 1.5])
def test_single_scale_methods_read_the_slots_that_were_filled_before(method: type[SingleScale], cfg: float) -> None:
    built, knobs = method.build("fmnist").eval(), method.resolve({})
    sampled, decoded = count_image(built, knobs, Sampling(cfg=cfg), 0, 0)
    branches, net = (2 if cfg != 1 else 1), built.network
    slot = branches * len(net.layers) * 2 * net.dim * FLOAT
    # EAR feeds the tokens of the part before once more, in place of masks: those are not read from memory.
    seen = [attended - fed for fed, attended, _ in built.steps(knobs)]
    assert sampled.cache_by_step == [slot * slots for slots in seen]
    assert decoded.cache_by_step == [0]


def test_var_reads_the_scales_before() -> None:
    method, knobs = VAR.build("fmnist").eval(), VAR.resolve({})
    sampled, _ = count_image(method, knobs, Sampling(cfg=1.5), 0, 0)
    net, sides = method.network, method.network.scales
    slot = 2 * len(net.blocks) * 2 * net.dim * FLOAT
    assert sampled.cache_by_step == [slot * sum(side**2 for side in sides[:scale]) for scale in range(len(sides))]
    first, *others = sampled.weights_by_step
    condition = sum(p.numel() for name, p in net.named_parameters() if "blocks" in name and "ada_lin" in name)
    assert first - max(others) > 0.98 * condition * FLOAT  # adaLN is computed once an image


def test_a_pruned_step_reads_fewer_weights_and_one_with_experts_all_of_them_and_as_many_keys() -> None:
    def last_step(method: type[Method], **given: KnobValue) -> tuple[int, Sequence[int]]:
        read = count_image(method.build("fmnist").eval(), method.resolve(given), Sampling(cfg=1.5), 0, 0)[0]
        return read.weights_by_step[-1], read.cache_by_step

    (dense, keys), (pruned, keys_of_pruned), (chosen, keys_of_chosen) = (
        last_step(method, ffn_sparsity=sparsity, sparse_scales=1)
        for method, sparsity in ((VARStatic, 0.0), (VARStatic, 0.75), (ActVAR, 0.75))
    )
    assert keys == keys_of_pruned == keys_of_chosen
    hidden, router = 4 * 96, 12 * (96 + 1)
    assert dense - pruned == 4 * FLOAT * (2 * 96 + 1) * hidden * 3 / 4
    assert chosen - dense == 4 * FLOAT * router  # every expert computes some tokens of each image


@pytest.mark.parametrize("method", [Raster, EAR, VAR])
def test_the_meta_device_gives_the_bytes_of_a_real_run(method: type[Method]) -> None:
    knobs, sampling = method.resolve({}), method.presets["fmnist"].sampling
    found = costs(method, "fmnist", knobs, sampling, precision="bf16")
    built = method.build("fmnist").eval()
    in_precision(built, "bf16")
    read = flops.bytes_read([count_image(built, knobs, sampling, 0, 0)])
    assert found["precision"] == "bf16" and len(found["by_step"]) == len(read["weights"])
    assert found["bytes"]["decoder"] == read["decoder"]
    assert found["bytes"]["weights"] == pytest.approx(read["weights"], rel=0.001)
    assert found["bytes"]["cache"] == read["cache"]


def test_one_step_of_each_kind_stands_for_all_steps_of_a_loop() -> None:
    knobs, sampling = Raster.resolve({}), Raster.presets["fmnist"].sampling
    short = costs(Raster, "fmnist", knobs, sampling, precision="fp32")
    whole = costs(Raster, "fmnist", knobs, sampling, check=True, precision="fp32")  # runs all steps
    assert short["by_step"] == whole["by_step"]
    assert short["bytes"] == whole["bytes"]
    assert sum(short["by_step"]) + short["decoder_macs"] == sum(short["macs"].values())
