"""FLOPs are counted on what ran, by hand-computed figures, and nothing heavy is left out in silence."""

from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from harness.errors import ArbenchError
from harness.inputs import labels
from harness.method import Generated, KnobValue
from harness.sampling import Sampling
from harness.stages.flops import stage as flops
from harness.stages.flops.agreement import agreement
from harness.stages.flops.by_trace import count_trace
from harness.stages.flops.counter import ExecutedCounter
from harness.stages.flops.operators import LIGHT, MISSING_RULES, RULES, is_light
from tests.helpers.fakes import FakeMethod, PartLinear

KNOBS = FakeMethod.resolve({})


class Run(nn.Module):
    """A function as a module of part ``attention``."""

    part = "attention"

    def __init__(self, work: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.work = work

    def forward(self, x: Tensor) -> Tensor:
        return self.work(x)


class Part(nn.Sequential):
    """Modules in a row that belong to a part."""

    part: str

    def __init__(self, part: str, *modules: nn.Module) -> None:
        super().__init__(*modules)
        self.part = part


def ones(*shape: int) -> Tensor:
    return torch.ones(shape)


def sparse_ffn(x: Tensor) -> Tensor:
    """Rows 0 and 2 of three go through an 8 -> 4 -> 8 FFN; the results are added back."""
    chosen = torch.tensor([0, 2])
    hidden = F.silu(F.linear(x.index_select(0, chosen), ones(4, 8)))
    return x.index_add(0, chosen, F.linear(hidden, ones(8, 4)))


def explicit_attention(x: Tensor) -> Tensor:
    """Two heads of 4 over 3 rows, with scores as a product of matrices."""
    q = x.view(3, 2, 4).transpose(0, 1)
    return ((q @ q.transpose(1, 2)).softmax(-1) @ q).transpose(0, 1).reshape(3, 8)


def conv(x: Tensor) -> Tensor:
    """One 3x8 plane, two filters of 3x3, padded: 24 places of 9 products, twice."""
    return F.conv2d(x[None, None], ones(2, 1, 3, 3), padding=1)


LSTM = nn.LSTM(8, 4).requires_grad_(False)

# name -> (work on a [3, 8] matrix, MACs by hand)
WORK: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "linear": (lambda x: F.linear(x, ones(5, 8), ones(5)), 3 * 8 * 5),
    "conv": (conv, 3 * 8 * 9 * 2),
    "grouped conv": (lambda x: F.conv1d(x[None], ones(6, 1, 3), padding=1, groups=3), 6 * 8 * 3),
    "transposed conv": (lambda x: F.conv_transpose1d(x[None], ones(3, 2, 2), stride=2), 8 * 3 * 2 * 2),
    "sdpa": (
        lambda x: F.scaled_dot_product_attention(x[None, None], ones(1, 1, 7, 8), ones(1, 1, 7, 8)),
        2 * 3 * 7 * 8,
    ),
    "causal sdpa is not halved": (
        lambda x: F.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None], is_causal=True),
        2 * 3 * 3 * 8,
    ),
    "masked sdpa is not lowered": (
        lambda x: F.scaled_dot_product_attention(
            x[None, None], x[None, None], x[None, None], attn_mask=torch.eye(3).bool()
        ),
        2 * 3 * 3 * 8,
    ),
    "explicit attention": (explicit_attention, 2 * 2 * 3 * 3 * 4),
    "sparse ffn": (sparse_ffn, 2 * 2 * 8 * 4),
    "matrix @ vector": (lambda x: x @ ones(8), 24),
    "vector @ matrix": (lambda x: x[0] @ ones(8, 5), 40),
    "vector @ vector": (lambda x: x[0] @ x[1], 8),
    "batch @ vector": (lambda x: x.expand(4, 3, 8) @ ones(8), 4 * 24),
    "broadcast matmul": (lambda x: x[None] @ ones(4, 8, 5), 4 * 3 * 8 * 5),
    "broadcast both ways": (lambda x: x[None, None].expand(6, 1, 3, 8) @ ones(4, 8, 5), 6 * 4 * 3 * 8 * 5),
    "baddbmm": (lambda x: torch.baddbmm(ones(2, 3, 5), x.expand(2, 3, 8), ones(2, 8, 5)), 2 * 3 * 8 * 5),
    "addmm": (lambda x: torch.addmm(ones(5), x, ones(8, 5)), 3 * 8 * 5),
    "addmv": (lambda x: torch.addmv(ones(3), x, ones(8)), 24),
    "einsum": (lambda x: torch.einsum("td,ed->te", x, ones(5, 8)), 3 * 8 * 5),
    "batched einsum": (lambda x: torch.einsum("bqd,bkd->bqk", x.expand(2, 3, 8), ones(2, 7, 8)), 2 * 3 * 7 * 8),
    "light work alone": (lambda x: F.layer_norm(x, (8,)).softmax(-1).gather(1, torch.zeros(3, 1).long()), 0),
}


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_executed_work_counts_as_by_hand(name: str, mode: Callable[[], torch.no_grad]) -> None:
    work, macs = WORK[name]
    network = Run(work)
    with mode(), ExecutedCounter(network) as counter:
        network(ones(3, 8))
    assert counter.count.macs == macs
    assert counter.count.flops == 2 * macs
    assert dict(counter.count.by_part) == ({"attention": macs} if macs else {})


@pytest.mark.parametrize("name", WORK)
def test_fvcore_with_our_handles_counts_as_by_hand(name: str) -> None:
    work, macs = WORK[name]
    assert count_trace(Run(work), (ones(3, 8),)) == macs


@pytest.mark.parametrize("name", WORK)
def test_torch_with_the_missing_rules_counts_as_by_hand(name: str) -> None:
    work, macs = WORK[name]
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=MISSING_RULES) as mode:
        work(ones(3, 8))
    assert mode.get_total_flops() == 2 * macs


def test_the_result_is_the_same_with_and_without_the_counter() -> None:
    x = torch.randn(3, 8)
    network = Run(sparse_ffn)
    with torch.no_grad(), ExecutedCounter(network):
        counted = network(x)
    assert torch.equal(counted, network(x))


@pytest.mark.parametrize(
    ("work", "operator"),
    [
        (lambda x: torch.cdist(x, x), "cdist"),
        (lambda x: torch.fft.fft(x), "fft"),
        (lambda x: torch.linalg.inv(x[:, :3] + torch.eye(3)), "linalg_inv"),
        (lambda x: LSTM(x)[0], "lstm|rnn"),
    ],
)
def test_a_heavy_operator_without_a_rule_is_an_error_that_names_it(
    work: Callable[[Tensor], Tensor], operator: str
) -> None:
    network = Run(work)
    with pytest.raises(ArbenchError, match=operator), torch.no_grad(), ExecutedCounter(network):
        network(ones(3, 8))
    with pytest.raises(ArbenchError, match=operator):
        count_trace(network, (ones(3, 8),))


def test_the_fast_path_of_multihead_attention_is_not_counted_as_nothing() -> None:
    class Attention(nn.Module):
        part = "attention"

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, batch_first=True).eval()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x, x, x)[0]

    network = Attention()
    with pytest.raises(ArbenchError, match="_native_multi_head_attention"), torch.no_grad(), ExecutedCounter(network):
        network(ones(1, 3, 8))


def test_no_light_operator_has_a_rule_and_every_listed_one_exists() -> None:
    assert not [packet for packet in RULES if hasattr(packet, "_qualified_op_name") and is_light(packet)]
    missing = [name for name in LIGHT if not hasattr(torch.ops.aten, name)]
    assert missing == []
    heavy = ("linear", "matmul", "einsum", "mm", "bmm", "conv2d", "cdist", "lstm", "scaled_dot_product_attention")
    assert [name for name in heavy if is_light(getattr(torch.ops.aten, name))] == []


class Block(nn.Module):
    """Parts declared on children, inherited by theirs; work done in methods that are not ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Part("attention", nn.Linear(8, 8, bias=False))
        self.ffn = Part("ffn", nn.Linear(8, 16), nn.Sequential(nn.Linear(16, 8)))
        self.router = PartLinear("router", 8, 2)

    def step(self, x: Tensor) -> Tensor:
        self.router(x)
        return self.ffn(self.attention[0](x))  # a child called past its parent still belongs to it


def test_a_part_is_inherited_by_children_even_when_the_parent_is_not_called() -> None:
    block = Block()
    with torch.no_grad(), ExecutedCounter(block) as counter:
        block.step(ones(1, 8))
    assert counter.count.by_part == {"attention": 64, "ffn": 256, "router": 16}


def test_a_module_that_two_parts_share_belongs_to_its_caller() -> None:
    shared = nn.Linear(8, 8)
    network = nn.ModuleList([Part("ffn", shared), Part("router", shared)])
    with torch.no_grad(), ExecutedCounter(network) as counter:
        network[0](ones(3, 8))
        network[1](ones(1, 8))
    assert counter.count.by_part == {"ffn": 192, "router": 64}


def test_work_outside_every_part_is_an_error_unless_a_part_is_named_for_it() -> None:
    network = nn.Linear(8, 8)
    with pytest.raises(ArbenchError, match="addmm.*belongs to no part.*Linear"), ExecutedCounter(network):
        network(ones(1, 8))
    with torch.no_grad(), ExecutedCounter(network, otherwise="tokenizer") as counter:
        network(ones(1, 8))
    assert counter.count.by_part == {"tokenizer": 64}


def test_an_unknown_part_is_an_error_that_names_the_valid_ones() -> None:
    network = PartLinear("atention", 8, 8)
    with pytest.raises(ArbenchError, match="did you mean 'attention'.*valid: attention, condition"):
        ExecutedCounter(network)


def test_light_operators_are_listed_as_uncounted() -> None:
    network = Run(sparse_ffn)
    with torch.no_grad(), ExecutedCounter(network) as counter:
        network(ones(3, 8))
    assert counter.count.uncounted["aten.index_select"] == 1
    assert counter.count.uncounted["aten.index_add"] == 1
    assert set(counter.count.by_operator) == {"aten.mm"}


@pytest.mark.parametrize(("cfg", "branches"), [(1.0, 1), (1.5, 2)])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_record_has_the_cost_by_part_with_the_decoder_apart(cfg: float, branches: int, steps: int) -> None:
    method = FakeMethod.load("tiny")
    counted = flops.count(method, FakeMethod.resolve({"steps": steps}), Sampling(cfg=cfg), seed=0)
    calls = branches * steps
    assert counted["by_part"] == {"ffn": 64 * calls, "head": 64 * calls, "tokenizer": 64}
    assert counted["macs"] == sum(counted["by_part"].values()) == counted["tokens_macs"] + counted["decoder_macs"]
    assert counted["flops"] == 2 * counted["macs"]
    assert counted["decoder_macs"] == 64
    assert (counted["macs_std"], counted["data_dependent"], counted["images_counted"]) == (0, False, 2)
    assert "FLOPs = 2 x MACs" in counted["convention"]


def test_steps_end_with_their_head_and_add_up_to_the_whole() -> None:
    net = Part(
        "attention", nn.Linear(8, 8), Part("ffn", nn.Linear(8, 4), nn.Linear(4, 8)), Part("head", nn.Linear(8, 2))
    )
    between = Part("embedding", nn.Linear(2, 8))
    both = nn.ModuleList([net, between])
    with torch.no_grad(), ExecutedCounter(both) as counter:
        net(between(net(ones(1, 8))))
    step = 64 + 32 + 32 + 16
    assert counter.count.by_step == [step + 16, step]
    assert sum(counter.count.by_step) == counter.count.macs


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_record_has_the_cost_by_step(steps: int) -> None:
    counted = flops.count(FakeMethod.load("tiny"), FakeMethod.resolve({"steps": steps}), Sampling(cfg=1.5), seed=0)
    assert counted["by_step"] == [256] * steps


def test_a_step_that_few_images_take_counts_as_little() -> None:
    assert flops._by_step([[10, 10], [10, 10], [10, 10, 6]]) == [10, 10, 2]


def test_a_loop_that_content_decides_is_counted_as_it_ran() -> None:
    def loop(x: Tensor) -> Tensor:
        for _ in range(int(x.sum())):  # traced, it is frozen at what the traced input asked for
            x = F.linear(x, torch.eye(8))
        return x

    network = Run(loop)
    for turns in (0, 3, 24):
        x = torch.zeros(3, 8)
        x[0, 0] = turns
        with torch.no_grad(), ExecutedCounter(network) as counter:
            network(x)
        assert counter.count.macs == turns * 3 * 8 * 8


class Wavering(FakeMethod):
    """Images of class 1 take one more FFN call, though the closed form does not say so."""

    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        if labels[0] == 1:
            self.network.get_submodule("ffn")(torch.zeros(1, 8))
        return super().sample(labels, noise, knobs, sampling)


class HonestlyWavering(Wavering):
    """The same, and says that it has no closed form."""

    def closed_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        raise ArbenchError("cost depends on content")


@pytest.mark.parametrize("method", [Wavering, HonestlyWavering])
def test_where_cost_depends_on_content_more_images_are_counted_and_the_spread_is_told(method: type[FakeMethod]) -> None:
    base = 8 * 64 + 64
    counted = flops.count(method.load("tiny"), KNOBS, Sampling(), seed=0, images=6)
    assert (counted["macs"], counted["macs_std"]) == (base + 32, 32)
    assert (counted["data_dependent"], counted["images_counted"]) == (True, 6)


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_four_counters_agree_on_a_method(cfg: float) -> None:
    found = agreement(FakeMethod.load("tiny"), KNOBS, Sampling(cfg=cfg))
    assert set(found) == {"executed", "fvcore", "torch", "closed form"}
    assert len(set(found.values())) == 1


def test_a_method_without_a_closed_form_is_compared_by_the_other_counters() -> None:
    found = agreement(HonestlyWavering.load("tiny"), KNOBS, Sampling())
    assert set(found) == {"executed", "fvcore", "torch"}
    assert len(set(found.values())) == 1


class ByClass(FakeMethod):
    """An image of class c takes c more FFN calls."""

    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        for _ in range(int(labels[0])):
            self.network.get_submodule("ffn")(torch.zeros(1, 8))
        return super().sample(labels, noise, knobs, sampling)

    def closed_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        raise ArbenchError("cost depends on content")


@pytest.mark.parametrize("policy", ["balanced", "random"])
def test_flops_are_counted_on_the_labels_of_the_trials_own_images(policy: str) -> None:
    method = ByClass.load("tiny")
    classes = labels(policy, 5, range(6), method.preset.classes)
    plain = flops.count(FakeMethod.load("tiny"), KNOBS, Sampling(), seed=5)["macs"]
    counted = flops.count(method, KNOBS, Sampling(), seed=5, policy=policy, images=6)
    assert counted["macs"] == pytest.approx(plain + 64 * classes.double().mean().item())
    assert counted["macs_std"] == pytest.approx(64 * classes.double().std(correction=0).item())


def test_counting_no_images_is_refused() -> None:
    with pytest.raises(ArbenchError, match="images = 0 is out of range"):
        flops.count(FakeMethod.load("tiny"), KNOBS, Sampling(), seed=0, images=0)
