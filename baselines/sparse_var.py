"""A trained VAR in which a share of the FFN and of the tokens is not computed: the base of ActVAR and its controls.

A ``Selection`` chooses which FFN units and which tokens are computed. It is learned (ActVAR, arXiv 2511.12893), random,
or fixed for good. ActVAR and its controls differ only in their ``Selection``.

In every block, at each of the last ``scales`` scales:
 - A share ``token`` of the scale's tokens is not selected. These tokens get no queries, attention or FFN. A light path
   reconstructs the update that the block would make to them. The light path is a low-rank map of the modulated input.
   The keys and values of unselected tokens are still computed and cached. The selected tokens and the later scales can
   therefore attend to every token.
 - For the selected tokens, a share ``ffn`` of the FFN is not computed.

At a given setting, every image gets exactly the same amount of computation. The cost therefore does not depend on what
is generated. At zero sparsity the dense network's code is run. Where ActVAR's abstract leaves a point open, the choice
is ours; ``methods.actvar`` lists the choices.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.var import Block, Past, Run, VARNetwork, modulated
from harness import traces
from harness.method import KnobValue

T = TypeVar("T")


@dataclass(frozen=True)
class Sparsity:
    """How much of the network is not computed, and in which scales."""

    ffn: float  # share of the FFN that is not computed, in [0, 1)
    token: float  # share of the tokens that are not computed, in [0, 1)
    scales: int  # how many of the last scales are sparse
    branches: int = 1  # number of guidance branches; a batch has all rows of the first, then all of the second
    tilt: float = 0.0  # 0 or more; with a higher tilt, larger scales keep more of the FFN (see ``over``)

    @classmethod
    def of(cls, knobs: Mapping[str, KnobValue], branches: int = 1) -> "Sparsity":
        """The sparsity that the knobs of a sparse method ask for."""
        ffn, token, scales, tilt = (
            knobs[name] for name in ("ffn_sparsity", "token_sparsity", "sparse_scales", "ffn_tilt")
        )
        return cls(float(ffn), float(token), int(scales), branches, float(tilt))

    def over(self, tokens: Sequence[int]) -> "list[Sparsity]":
        """The sparsity of each sparse scale; tokens: the number of tokens of each sparse scale.

        The share of the FFN that a scale keeps is proportional to tokens^tilt, and at most 1. Over all sparse scales
        together, the share of the FFN that is not computed is ``ffn``. At tilt 0 all scales keep the same share.
        """
        if not self.tilt:
            return [self] * len(tokens)
        keep, open_to = [1.0] * len(tokens), list(range(len(tokens)))
        while open_to:
            whole = sum(keep[place] * tokens[place] for place in range(len(tokens)) if place not in open_to)
            left = (1 - self.ffn) * sum(tokens) - whole
            per = left / sum(tokens[place] ** (1 + self.tilt) for place in open_to)
            full = [place for place in open_to if per * tokens[place] ** self.tilt > 1]
            for place in open_to:
                keep[place] = min(1.0, per * tokens[place] ** self.tilt)
            if not full:
                break
            open_to = [place for place in open_to if place not in full]
        return [replace(self, ffn=1 - share) for share in keep]

    def shared(self, scores: Tensor) -> Tensor:
        """The mean of scores [B, ...] over the branches of an image, [B / branches, ...].

        The branches of an image then skip the same work. Guidance multiplies the difference between the branches. If
        one branch alone skipped work, guidance would multiply the resulting error by cfg.
        """
        return scores if self.branches == 1 else scores.view(self.branches, -1, *scores.shape[1:]).mean(0)

    def agree(self, scores: Tensor) -> Tensor:
        """``shared`` scores, repeated for each branch: [B, ...]."""
        return scores if self.branches == 1 else torch.cat([self.shared(scores)] * self.branches)

    def kept_tokens(self, tokens: int) -> int:
        """How many tokens are computed in a scale that has ``tokens`` tokens; at least 1."""
        return _share(1 - self.token, tokens)

    def kept_units(self, units: int) -> int:
        """How many of ``units`` units are computed; at least 1. Units are FFN units or (token, expert) pairs."""
        return _share(1 - self.ffn, units)


def _share(share: float, count: int) -> int:
    """``share`` times ``count``, rounded to an integer; at least 1."""
    return max(1, round(share * int(count)))  # int: a size that torch traces is a tensor


class Light(nn.Module):
    """The light path of a block: modulated input [B, n, dim] -> update [B, n, dim], a map of rank ``rank``."""

    part = "router"

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(dim, rank), nn.Linear(rank, dim)
        nn.init.normal_(self.up.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(F.silu(self.down(x)))
        return out


@dataclass(frozen=True)
class Shape:
    """The sizes of what one sparse scale computes for a batch."""

    images: int
    branches: int
    tokens: int  # how many tokens of an image are computed
    sparsity: Sparsity  # of this scale
    device: torch.device
    _made: list[Any] = field(default_factory=list)

    def once(self, make: Callable[[], T]) -> T:
        """What ``make`` returned when it was first called. So all blocks of a scale share what depends on sizes."""
        if not self._made:
            self._made.append(make())
        made: T = self._made[0]
        return made


PartialFFN = Callable[[Tensor, Tensor], Tensor]
"""(modulated input of an FFN [B, m, dim], positions of its tokens in the sequence) -> output [B, m, dim]"""


class Selection(nn.Module, ABC):
    """The base class of selections. A selection chooses the tokens and FFN units that one block computes.

    Where a function of this class takes ``places``, they are positions in the sequence, [n] or [B, n].
    """

    part = "router"
    token_scores: Tensor | None  # [positions], if a token's score depends on its place alone; else None

    def tokens(self, x: Tensor, places: Tensor) -> Tensor:
        """Modulated input [B, n, dim] -> scores [B, n]; the tokens with the highest scores are selected."""
        assert self.token_scores is not None
        return self.token_scores[places].expand(len(x), -1)

    @abstractmethod
    def partial_ffn(self, block: Block, shape: Shape) -> PartialFFN:
        """The block's FFN, computed only in part. What does not depend on the input is made here, once."""

    @abstractmethod
    def unit_mask(self, x: Tensor, places: Tensor, selected: Tensor, span: slice, sparsity: Sparsity) -> Tensor:
        """The mask for training, [B, n, hidden]: for each token, 1 for the hidden units that it uses, else 0.

        The mask has a gradient if the selection is learned.

        selected: which tokens of the scale are computed, bool [B, n].
        """

    @abstractmethod
    def ffn_macs(self, dim: int, hidden: int, tokens: int, sparsity: Sparsity) -> dict[str, float]:
        """A dict from part to the MACs of ``partial_ffn``, in closed form; tokens: the number of selected tokens."""

    def token_macs(self, dim: int, tokens: int) -> float:
        """MACs of the method ``tokens``, in closed form; tokens: the number of a scale's tokens."""
        return 0.0


@dataclass(frozen=True)
class SparseScale:
    """What stays the same from batch to batch where one sparse scale is sampled. It lives on the device."""

    sparsity: Sparsity  # of this scale
    places: Tensor  # the positions of the scale's tokens in the sequence, [n]
    kept: int  # how many tokens are computed
    # For each block, the tokens that are computed and the others, as ``_split`` gives them. Empty if they depend on the
    # image, or if all tokens are computed.
    tokens: tuple[tuple[Tensor, Tensor], ...]
    ffns: tuple[PartialFFN, ...]  # for each block
    first: Tensor  # the index of each row's first token, [B, 1]


class SparseVARNetwork(nn.Module):
    """A frozen ``backbone`` with a selection and a light path for each block.

    If ``own_blocks``, the sparse scales have blocks of their own, which start as copies of the backbone's blocks
    and are trained. The module's weights are those of selections, light paths and own blocks only.
    """

    def __init__(self, backbone: VARNetwork, selections: list[Selection], rank: int, own_blocks: bool) -> None:
        super().__init__()
        self.backbone = [backbone.requires_grad_(False)]  # in a list: its weights are var's and stay in var's file
        self.selections: list[Selection] = nn.ModuleList(selections)  # type: ignore[assignment]
        light = nn.ModuleList(Light(backbone.dim, rank) for _ in backbone.blocks)
        self.light: list[Light] = light  # type: ignore[assignment]
        hidden = backbone.blocks[0].ffn.fc1.out_features
        self.register_buffer("unit_order", torch.arange(hidden).repeat(len(backbone.blocks), 1))
        self.unit_order: Tensor
        self.own = nn.ModuleList(_copy(block) for block in backbone.blocks if own_blocks)

    @property
    def blocks(self) -> list[Block]:
        """The blocks of the sparse scales."""
        return list(self.own) or list(self.backbone[0].blocks)  # type: ignore[arg-type]

    def arrange(self) -> None:
        """Put the hidden units of the FFNs of ``blocks`` in the order ``unit_order``.

        ActVAR orders the units by expert, so that the units of an expert then lie side by side. The pruning control
        orders the units by importance, so that the units to keep come first. The dense FFN computes the same as before.
        """
        for block, order in zip(self.blocks, self.unit_order, strict=True):
            block.ffn.fc1.weight.data = block.ffn.fc1.weight.data[order].contiguous()
            block.ffn.fc1.bias.data = block.ffn.fc1.bias.data[order].contiguous()
            block.ffn.fc2.weight.data = block.ffn.fc2.weight.data[:, order].contiguous()

    def sparse_scales(self, sparsity: Sparsity) -> dict[int, Sparsity]:
        """A dict from each sparse scale to its sparsity. The key is the scale's index among all scales."""
        sides = self.backbone[0].scales
        first = max(0, len(sides) - sparsity.scales)
        return dict(enumerate(sparsity.over([side * side for side in sides[first:]]), first))

    def runs(self, sparsity: Sparsity, images: int) -> list[Run]:
        """For each scale, the function that runs all blocks while a batch is sampled."""
        net = self.backbone[0]
        sparse = self.sparse_scales(sparsity) if sparsity.ffn or sparsity.token else {}
        plans = {scale: self._planned(net.span(scale), here, images) for scale, here in sparse.items()}
        return [partial(self._run, plans[scale]) if scale in plans else net.run for scale in range(len(net.scales))]

    def _planned(self, span: slice, sparsity: Sparsity, images: int) -> SparseScale:
        device, size = self.backbone[0].lvl_1L.device, span.stop - span.start
        places = torch.arange(span.start, span.stop, device=device)
        kept = sparsity.kept_tokens(size)
        scores = [one.token_scores for one in self.selections if one.token_scores is not None]
        tokens = tuple(_split(one[None, places], kept) for one in scores if kept < size)
        shape = Shape(images, sparsity.branches, kept, sparsity, device)
        ffns = tuple(
            one.partial_ffn(block, shape) if sparsity.ffn else whole_ffn(block)
            for one, block in zip(self.selections, self.blocks, strict=True)
        )
        first = torch.arange(0, images * sparsity.branches * size, size, device=device)[:, None]
        return SparseScale(sparsity, places, kept, tokens, ffns, first)

    def _run(self, plan: SparseScale, x: Tensor, modulations: list[list[Tensor]], past: Past) -> Tensor:
        for place, (block, modulation) in enumerate(zip(self.blocks, modulations, strict=True)):
            _, _, scale1, _, shift1, _ = modulation
            h = modulated(x, scale1, shift1)
            if plan.kept == len(plan.places):
                q, *new = block.attn.all_three(h)
                attended = _attended(block, x, q, past[0].write(place, past[1], *new), modulation)
                x = _computed(attended, plan.places, plan.ffns[place], modulation)
            else:
                x = self._some(place, x, h, modulation, past, plan)
        return x

    def _some(
        self, place: int, x: Tensor, h: Tensor, modulation: list[Tensor], past: Past, plan: SparseScale
    ) -> Tensor:
        """The output of one block, of which some tokens are computed in full and the others by the light path.

        place: the index of the block; x, h: the block's input and the modulated input, of all tokens.
        """
        block, selection, sparsity = self.blocks[place], self.selections[place], plan.sparsity
        memory = past[0].write(place, past[1], *block.attn.keys_values(h))
        if plan.tokens:
            chosen, rest = plan.tokens[place]
        else:
            chosen, rest = _split(sparsity.shared(selection.tokens(h, plan.places)), plan.kept)
        if traces.heard():
            computed = torch.zeros(len(x) // sparsity.branches, x.shape[1], dtype=torch.bool, device=x.device)
            traces.tell_tokens(selection, plan.places, computed.scatter_(1, chosen.expand(len(computed), -1), True))
        places = plan.places[chosen]
        if len(chosen) > 1:
            chosen, rest = (torch.cat([one] * sparsity.branches) for one in (chosen, rest))
        some, others = chosen + plan.first, rest + plan.first
        attended = _attended(block, _taken(x, some), block.attn.queries(_taken(h, some)), memory, modulation)
        done = _computed(attended, places, plan.ffns[place], modulation)
        light = _taken(x, others) + self.light[place](_taken(h, others))
        out = torch.empty_like(x).view(-1, x.shape[-1])
        for made, tokens in ((done, some), (light, others)):
            out.index_copy_(0, tokens.view(-1), made.view(-1, x.shape[-1]))
        return out.view_as(x)

    def macs(self, sparsity: Sparsity) -> dict[str, float]:
        """A dict from part to MACs, in closed form: all blocks over all scales, for one guidance branch."""
        net = self.backbone[0]
        dim, hidden, rank = net.dim, net.blocks[0].ffn.fc1.out_features, self.light[0].down.out_features
        total = dict.fromkeys(("attention", "ffn", "router"), 0.0)
        past, sparse = 0, self.sparse_scales(sparsity)
        for scale, side in enumerate(net.scales):
            n, past = side * side, past + side * side
            here = sparse.get(scale)
            kept = here.kept_tokens(n) if here else n
            total["attention"] += 2 * dim * dim * (n + kept) + 2 * dim * kept * past
            if kept < n:
                total["router"] += self.selections[0].token_macs(dim, n) + 2 * dim * rank * (n - kept)
            if here and here.ffn:
                for part, macs in self.selections[0].ffn_macs(dim, hidden, kept, here).items():
                    total[part] += macs
            else:
                total["ffn"] += 2 * dim * hidden * kept
        return {part: macs * len(net.blocks) for part, macs in total.items()}


def whole_ffn(block: Block) -> PartialFFN:
    """The whole FFN of a block."""
    return lambda x, places: block.ffn(x)


def _attended(block: Block, x: Tensor, q: Tensor, memory: tuple[Tensor, Tensor], modulation: list[Tensor]) -> Tensor:
    """What a block's attention makes of the tokens that are computed.

    x, q: the block's input and the queries, of these tokens.
    memory: the keys and values of all tokens of this scale and of the earlier scales.
    """
    return torch.addcmul(x, modulation[0], block.attn.read(q, *memory, None))


def _computed(attended: Tensor, places: Tensor, ffn: PartialFFN, modulation: list[Tensor]) -> Tensor:
    """The output of a block for the tokens that are computed, from what attention made of them."""
    _, gamma2, _, scale2, _, shift2 = modulation
    return torch.addcmul(attended, gamma2, ffn(modulated(attended, scale2, shift2), places))


def _split(scores: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """The indices of the ``kept`` highest scores of each row, in ascending order, and the other indices."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    return order[:, :kept].sort(1).values, order[:, kept:]


def _taken(x: Tensor, tokens: Tensor) -> Tensor:
    """Take some tokens of x [B, n, dim]; returns [B, m, dim].

    tokens: [B, m], the indices of the tokens in x.flatten(0, 1).
    """
    # takes a third of the time of x[rows, tokens]
    return x.flatten(0, 1).index_select(0, tokens.flatten()).view(*tokens.shape, -1)


def _copy(block: Block) -> Block:
    """A trainable copy of a block, but without adaLN: the copy uses the backbone's modulations."""
    own = copy.deepcopy(block).requires_grad_(True)
    own.ada_lin = None
    return own


def top_mask(scores: Tensor, count: int) -> Tensor:
    """A mask, bool [B, n], that is True for the ``count`` highest scores of each row; scores: [B, n]."""
    highest = scores.topk(count, 1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, highest, 1)  # 1, as torch cannot trace True


def straight_through(hard: Tensor, scores: Tensor) -> Tensor:
    """A mask that has the values of ``hard``, but the gradient of ``scores.sigmoid()``."""
    soft = scores.sigmoid()
    return hard.to(soft.dtype) + soft - soft.detach()


def network_config(preset_network: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The network settings of a sparse preset, split into those of VARNetwork and those of the sparse version."""
    own = {name: preset_network[name] for name in ("rank", "experts", "own_blocks") if name in preset_network}
    return {name: value for name, value in preset_network.items() if name not in own}, own
