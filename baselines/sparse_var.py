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
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.var import Block, Past, VARNetwork, modulated
from harness import traces
from harness.method import KnobValue


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

    def agree(self, scores: Tensor) -> Tensor:
        """Replace scores [B, ...] by their mean over the branches of an image.

        The branches of an image then skip the same work. Guidance multiplies the difference between the branches. If
        one branch alone skipped work, guidance would multiply the resulting error by cfg.
        """
        if self.branches == 1:
            return scores
        return torch.cat([scores.unflatten(0, (self.branches, -1)).mean(0)] * self.branches)

    def alike(self, scores: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """``choose(scores)`` of scores that all branches of an image share, computed for one branch and repeated."""
        return torch.cat([choose(scores[: len(scores) // self.branches])] * self.branches)

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


class Selection(nn.Module, ABC):
    """The base class of selections. A selection chooses the tokens and FFN units that one block computes.

    Where a function of this class takes ``places``, they are positions in the sequence, [n] or [B, n].
    """

    part = "router"
    by_place = False  # whether ``tokens`` depends on the places alone: then every image gets the same tokens

    @abstractmethod
    def tokens(self, x: Tensor, places: Tensor) -> Tensor:
        """Modulated input [B, n, dim] -> scores [B, n]; the tokens with the highest scores are selected."""

    @abstractmethod
    def ffn(self, block: Block, x: Tensor, places: Tensor, sparsity: Sparsity) -> Tensor:
        """The output [B, m, dim] of the block's FFN, computed only in part; x: the FFN's modulated input."""

    @abstractmethod
    def unit_mask(self, x: Tensor, places: Tensor, selected: Tensor, span: slice, sparsity: Sparsity) -> Tensor:
        """The mask for training, [B, n, hidden]: for each token, 1 for the hidden units that it uses, else 0.

        The mask has a gradient if the selection is learned.

        selected: which tokens of the scale are computed, bool [B, n].
        """

    @abstractmethod
    def ffn_macs(self, dim: int, hidden: int, tokens: int, sparsity: Sparsity) -> dict[str, float]:
        """A dict from part to the MACs of the method ``ffn``, in closed form; tokens: the number of selected tokens."""

    def token_macs(self, dim: int, tokens: int) -> float:
        """MACs of the method ``tokens``, in closed form; tokens: the number of a scale's tokens."""
        return 0.0


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
        self._fixed: dict[tuple[int, int, int, torch.device], tuple[Tensor, Tensor]] = {}

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

    def run_scale(
        self, scale: int, x: Tensor, modulations: list[list[Tensor]], past: Past, sparsity: Sparsity
    ) -> Tensor:
        """Run all blocks at one scale of sampling."""
        net = self.backbone[0]
        here = self.sparse_scales(sparsity).get(scale)
        if here is None or (sparsity.ffn == 0 and sparsity.token == 0):
            return net.run(x, modulations, past=past)
        span = net.span(scale)
        places = torch.arange(span.start, span.stop, device=x.device)
        for place, modulation in enumerate(modulations):
            x = self._block(place, x, modulation, past, places, here)
        return x

    def _block(
        self, place: int, x: Tensor, modulation: list[Tensor], past: Past, places: Tensor, sparsity: Sparsity
    ) -> Tensor:
        block, selection = self.blocks[place], self.selections[place]
        _, _, scale1, _, shift1, _ = modulation
        h = modulated(x, scale1, shift1)
        kept = sparsity.kept_tokens(x.shape[1])
        if kept == x.shape[1]:
            q, *new = block.attn.all_three(h)
            return self._selected(place, x, q, modulation, past[0].write(place, past[1], *new), places, sparsity)
        memory = past[0].write(place, past[1], *block.attn.keys_values(h))
        chosen, rest = self._chosen(place, h, places, kept, sparsity)
        if traces.heard():
            computed = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
            traces.tell_tokens(selection, places, computed.scatter_(1, chosen.expand(len(x), -1), True))
        first = x.shape[1] * torch.arange(len(x), device=x.device)[:, None]  # index of each row's first token
        some, others = first + chosen, first + rest
        q = block.attn.queries(_taken(h, some))
        done = self._selected(place, _taken(x, some), q, modulation, memory, places[chosen], sparsity)
        light = _taken(x, others) + self.light[place](_taken(h, others))
        out = torch.empty_like(x).flatten(0, 1)
        for made, tokens in ((done, some), (light, others)):
            out.index_copy_(0, tokens.flatten(), made.flatten(0, 1))
        return out.view_as(x)

    def _chosen(self, place: int, h: Tensor, places: Tensor, kept: int, sparsity: Sparsity) -> tuple[Tensor, Tensor]:
        """The ``kept`` tokens of the highest scores, in the order of the sequence, and the others: [B, kept] and
        [B, n - kept]; [1, ...] if all images get the same tokens."""
        selection = self.selections[place]
        if not selection.by_place:
            return _split(sparsity.agree(selection.tokens(h, places)), kept)
        key = (place, len(places), kept, h.device)  # no two scales are of one size
        if key not in self._fixed:
            self._fixed[key] = _split(selection.tokens(h[:1], places), kept)
        return self._fixed[key]

    def _selected(
        self,
        place: int,
        x: Tensor,
        q: Tensor,
        modulation: list[Tensor],
        memory: tuple[Tensor, Tensor],
        places: Tensor,
        sparsity: Sparsity,
    ) -> Tensor:
        """The output of one block for the selected tokens alone.

        place: the index of the block.
        x, q: the block's input and the queries, of the selected tokens.
        memory: the keys and values of all tokens of this scale and of the earlier scales.
        places: the positions of the selected tokens in the sequence.
        """
        block = self.blocks[place]
        gamma1, gamma2, _, scale2, _, shift2 = modulation
        x = torch.addcmul(x, gamma1, block.attn.read(q, *memory, None))
        h = modulated(x, scale2, shift2)
        ffn = self.selections[place].ffn(block, h, places, sparsity) if sparsity.ffn else block.ffn(h)
        return torch.addcmul(x, gamma2, ffn)

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


def _split(scores: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """The indices of the ``kept`` highest scores of each row, in ascending order, and the other indices."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    return order[:, :kept].sort(1).values, order[:, kept:]


def _taken(x: Tensor, tokens: Tensor) -> Tensor:
    """Take some tokens of x [B, n, dim]; returns [B, m, dim].

    tokens: [B, m], the indices of the tokens in x.flatten(0, 1).
    """
    # takes a third of the time of x[rows, tokens]
    return x.flatten(0, 1).index_select(0, tokens.flatten()).unflatten(0, tokens.shape)


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
