"""Experts: FFN units that are computed together, for some of the tokens (ActVAR and its random control).

The hidden units of an FFN are cut into equal parts, one after the other. The e-th part is expert e. Each expert chooses
the tokens that it computes, and every expert chooses equally many ("expert choice", Zhou et al., arXiv 2202.09368).
A token can therefore get more experts than another. ActVAR's abstract leaves this open; the choice is ours.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.gelu import gelu
from baselines.sparse_var import PartialFFN, Selection, Shape, Sparsity, straight_through, top_mask, whole_ffn
from baselines.var import FFN, Block
from harness import traces


class ExpertSelection(Selection):
    """A selection in which each expert of an FFN computes the tokens that have its highest scores."""

    experts: int  # how many experts an FFN has

    @abstractmethod
    def pair_scores(self, x: Tensor, places: Tensor) -> Tensor:
        """The FFN's modulated input [B, n, dim] -> scores [B, n, experts]."""

    def partial_ffn(self, block: Block, shape: Shape) -> PartialFFN:
        kept, sparsity = shape.sparsity.kept_units(shape.tokens), shape.sparsity
        if kept == shape.tokens:  # nothing is left to choose, as where a scale has one token
            return whole_ffn(block)
        indices = shape.once(lambda: ExpertIndices.of(self.experts, kept, shape))
        experts = Experts(block.ffn, self.experts)

        def run(x: Tensor, places: Tensor) -> Tensor:
            scores = sparsity.shared(self.pair_scores(x, places)).permute(2, 0, 1)
            tokens = scores.topk(kept, sorted=False).indices
            if traces.heard():
                computed = torch.zeros_like(scores, dtype=torch.bool).scatter_(2, tokens, True)
                traces.tell_experts(self, places, computed.permute(1, 2, 0))
            return experts(x, tokens, indices)

        return run

    def unit_mask(self, x: Tensor, places: Tensor, selected: Tensor, span: slice, sparsity: Sparsity) -> Tensor:
        scores = sparsity.agree(self.pair_scores(x, places))
        count = sparsity.kept_units(int(selected[0].sum()))
        own = scores.masked_fill(~selected[..., None], -torch.inf).transpose(1, 2)
        chosen = top_mask(own.flatten(0, 1), count).view_as(own).transpose(1, 2)
        return straight_through(chosen, scores).repeat_interleave(4 * x.shape[-1] // self.experts, -1)

    def ffn_macs(self, dim: int, hidden: int, tokens: int, sparsity: Sparsity) -> dict[str, float]:
        return {"ffn": 2 * dim * hidden * sparsity.kept_units(tokens)}


@dataclass(frozen=True)
class ExpertIndices:
    """Indices that ``Experts`` needs, which depend on sizes alone. They are made once and live on the device."""

    first: Tensor  # where the tokens of each row begin, [branches, images, 1]
    pairs: Tensor  # numbers of the (expert, token) pairs, [tokens of an expert in the whole batch, experts]
    none: Tensor  # for each token and expert, the number of no pair, [all tokens, experts]
    bags: Tensor  # where the pairs of each token begin in ``none``, [all tokens]

    @classmethod
    def of(cls, experts: int, kept: int, shape: Shape) -> Self:
        """kept: how many tokens of an image each expert computes."""
        rows, device = shape.images * shape.branches, shape.device
        count, tokens = rows * kept * experts, rows * shape.tokens
        return cls(
            torch.arange(0, tokens, shape.tokens, device=device).view(shape.branches, shape.images, 1),
            torch.arange(count, device=device).view(experts, -1).t(),
            torch.full((tokens, experts), count, device=device),
            torch.arange(0, tokens * experts, experts, device=device),
        )


class Experts(nn.Module):
    """An FFN of which each expert computes only its own tokens. For sampling: it has no gradient.

    Every expert computes as many tokens as every other. So each of the two layers is one batched product of fixed size,
    in any precision and on any device. The host waits for no value, and nothing is added atomically.
    """

    part = "ffn"

    def __init__(self, ffn: FFN, count: int) -> None:
        super().__init__()
        up, down = ffn.fc1.weight.detach(), ffn.fc2.weight.detach()
        self.up, self.up_bias = up.unflatten(0, (count, -1)).transpose(1, 2), ffn.fc1.bias.detach().view(count, 1, -1)
        self.down, self.down_bias = down.unflatten(1, (count, -1)).permute(1, 2, 0), ffn.fc2.bias.detach()

    def forward(self, x: Tensor, tokens: Tensor, indices: ExpertIndices) -> Tensor:
        """The FFN's output, [B, n, dim].

        x: [B, n, dim]. If there are guidance branches, all rows of the first come first, then all rows of the second.
        tokens: [experts, images, m], for each image the tokens that an expert computes, as indices from 0 to n - 1. The
        branches of an image share them.
        """
        count, dim = len(tokens), x.shape[-1]
        taken = (tokens.unsqueeze(1) + indices.first).view(count, -1)  # the tokens of each expert in the whole batch
        own = x.view(-1, dim).index_select(0, taken.view(-1)).view(count, -1, dim)
        pairs = taken.numel()
        added = x.new_empty(pairs + 1, dim)  # what each expert adds to its tokens, and 0 for the pair that is none
        hidden = gelu(torch.baddbmm(self.up_bias, own, self.up))
        torch.bmm(hidden, self.down, out=added.narrow(0, 0, pairs).view(count, -1, dim))
        added.narrow(0, pairs, 1).zero_()
        of_token = indices.none.clone().scatter_(0, taken.t(), indices.pairs)
        out = F.embedding_bag(of_token.view(-1), added, indices.bags, mode="sum")
        return out.add_(self.down_bias).view(x.shape)
