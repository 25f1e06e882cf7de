"""VAR: next-scale prediction (Tian et al., arXiv 2404.02905; FoundationVision/VAR).

The network has adaLN and l2-normed attention. Sampling has a guidance ramp and a KV cache. Parameter names are those of
the published checkpoints.
"""

from collections.abc import Callable, Mapping, Sequence
from math import log
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.attention import attend
from baselines.gelu import by_rows, gelu
from baselines.layouts import VAR as VAR_LAYOUT
from baselines.layouts import Layout
from baselines.llama import Cache, Slots
from baselines.single_scale import Bundled
from baselines.tokenizers.vq import MultiScaleQuantiser
from baselines.training import ScaleTrainee
from baselines.var_presets import VAR_PRESETS
from harness.method import Generated, KnobValue, Preset
from harness.sampling import Sampling, draw, guide
from harness.training.loop import Trainee

Past = tuple[Cache, Slots]
"""A cache with the keys and values of the earlier scales, and the cache slots up to the end of the present scale."""

Run = Callable[[Tensor, list[list[Tensor]], Past], Tensor]
"""Runs all blocks at one scale of sampling: input [B, n, dim], modulations of each block, past -> hidden states."""


class SelfAttention(nn.Module):
    """Attention over l2-normalised queries and keys, with a learned temperature for each head (VAR, section 4,
    "attn_l2_norm")."""

    part = "attention"

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, heads, 1, 1), log(4.0)))
        self.mat_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("zero_k_bias", torch.zeros(dim))
        self.zero_k_bias: Tensor
        self.proj = nn.Linear(dim, dim)

    def queries(self, x: Tensor) -> Tensor:
        """x [B, n, dim] -> queries (normalised, times the temperature), [B, heads, n, head_dim]."""
        q = F.linear(x, self.mat_qkv.weight[: x.shape[-1]], self.q_bias).unflatten(-1, (self.heads, -1))
        return unit(q, self.temperature()).transpose(1, 2)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, n, dim] -> keys (normalised) and values, [B, heads, n, head_dim] each."""
        bias = torch.cat([self.zero_k_bias.to(self.v_bias), self.v_bias])
        both = F.linear(x, self.mat_qkv.weight[x.shape[-1] :], bias).unflatten(-1, (2, self.heads, -1))
        k, v = both.unbind(2)
        return unit(k).transpose(1, 2), v.transpose(1, 2)

    def all_three(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same as ``queries`` and ``keys_values`` together, but computed by one product."""
        bias = torch.cat([self.q_bias, self.zero_k_bias.to(self.q_bias), self.v_bias])
        both, v = F.linear(x, self.mat_qkv.weight, bias).unflatten(-1, (3, self.heads, -1)).split((2, 1), 2)
        temperature = self.temperature()
        both = unit(both, torch.stack([temperature, torch.ones_like(temperature)]))
        q, k, v = (one.transpose(1, 2) for one in (*both.unbind(2), v.squeeze(2)))
        return q, k, v

    def temperature(self) -> Tensor:
        """The learned factor by which normalised queries are multiplied, [heads, 1]; at most 100."""
        return self.scale_mul_1H11[0, :, 0].clamp(max=log(100.0)).exp()

    def read(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """Attend with queries q to keys k and values v, then project; returns [B, n, dim]."""
        out: Tensor = self.proj(attend(q, k, v, bias, 1.0))
        return out


class FFN(nn.Module):
    """fc2(gelu(fc1 x)), with GELU's tanh approximation."""

    part = "ffn"

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return by_rows(lambda rows: self.fc2(gelu(self.fc1(rows))), x)


class Modulation(nn.Sequential):
    """class embedding [B, dim] -> ``count`` modulations [B, 1, dim]."""

    part = "condition"

    def __init__(self, dim: int, count: int) -> None:
        super().__init__(nn.SiLU(), nn.Linear(dim, count * dim))
        self.count = count

    def forward(self, condition: Tensor) -> list[Tensor]:
        out: Tensor = super().forward(condition)  # type: ignore[no-untyped-call]
        return list(out.unsqueeze(1).chunk(self.count, -1))


class Block(nn.Module):
    """adaLN block: modulations in the order gamma1, gamma2, scale1, scale2, shift1, shift2.

    The modulations come from the block's ``ada_lin``. If all blocks share one adaLN, a block's modulations are the
    shared modulations plus the block's ``ada_gss``.
    """

    def __init__(self, dim: int, heads: int, hidden: int, shared: bool = False) -> None:
        super().__init__()
        self.attn, self.ffn = SelfAttention(dim, heads), FFN(dim, hidden)
        self.ada_lin = None if shared else Modulation(dim, 6)
        if shared:
            self.ada_gss = nn.Parameter(torch.randn(1, 1, 6, dim) / dim**0.5)

    def forward(
        self, x: Tensor, modulation: list[Tensor], bias: Tensor | None, past: Past | None, place: int
    ) -> Tensor:
        """Run the block on x [B, n, dim]. If ``past`` (a KV cache) is given, x's keys and values are written to layer
        ``place`` of the cache, and x attends to all keys and values in this layer."""
        gamma1, gamma2, scale1, scale2, shift1, shift2 = modulation
        q, k, v = self.attn.all_three(modulated(x, scale1, shift1))
        if past is not None:
            k, v = past[0].write(place, past[1], k, v)
        x = torch.addcmul(x, gamma1, self.attn.read(q, k, v, bias))
        return torch.addcmul(x, gamma2, self.ffn(modulated(x, scale2, shift2)))


def modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """norm(x) * (1 + scale) + shift, where norm is layer norm without weights, with eps 1e-6."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


def unit(x: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """F.normalize(x) * scale, over the last dimension."""
    # x is multiplied only once, by scale / (norm of x)
    return x * (torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=1e-12).reciprocal() * scale)


class Head(nn.Module):
    """The adaLN before the network's head. This adaLN has two modulations: scale and shift."""

    part = "head"

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ada_lin = Modulation(dim, 2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.ada_lin(condition)
        return modulated(x, scale, shift)


class VARNetwork(nn.Module):
    """[class, canvases] -> logits of every scale.

    The canvas of a scale is the sum of what all earlier scales contribute, averaged down to the scale's grid.
    The label that equals ``classes`` means "no class". shared: one adaLN for all blocks (VAR-d36).
    """

    def __init__(
        self,
        vocabulary: int,
        channels: int,
        scales: Sequence[int],
        classes: int,
        dim: int,
        layers: int,
        heads: int,
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.scales, self.classes, self.dim = tuple(scales), classes, dim
        length = sum(side * side for side in scales)
        self.word_embed, self.class_emb = nn.Linear(channels, dim), nn.Embedding(classes + 1, dim)
        self.word_embed.part = "embedding"  # type: ignore[assignment]
        std = (1 / dim / 3) ** 0.5
        self.pos_start = nn.Parameter(torch.randn(1, scales[0] ** 2, dim) * std)
        self.pos_1LC = nn.Parameter(torch.randn(1, length, dim) * std)
        self.lvl_embed = nn.Embedding(len(scales), dim)
        blocks = nn.ModuleList(Block(dim, heads, 4 * dim, shared) for _ in range(layers))
        self.blocks: list[Block] = blocks  # type: ignore[assignment]
        self.shared_ada_lin = Modulation(dim, 6) if shared else None
        self.head_nm, self.head = Head(dim), nn.Linear(dim, vocabulary)
        self.head.part = "head"  # type: ignore[assignment]
        sides = torch.tensor([side * side for side in scales])
        level = torch.repeat_interleave(torch.arange(len(scales)), sides, output_size=length)
        self.register_buffer("lvl_1L", level[None])
        self.lvl_1L: Tensor
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.04)

    def span(self, scale: int) -> slice:
        """The positions of a scale's tokens in the sequence."""
        start = sum(side * side for side in self.scales[:scale])
        return slice(start, start + self.scales[scale] ** 2)

    def modulations(self, condition: Tensor) -> list[list[Tensor]]:
        """The adaLN modulations of every block, computed once for each image."""
        if self.shared_ada_lin is None:
            return [block.ada_lin(condition) for block in self.blocks if block.ada_lin is not None]
        shared = torch.stack(self.shared_ada_lin(condition), 2)
        return [list((shared + block.ada_gss).unbind(2)) for block in self.blocks]

    def new_cache(self, condition: Tensor) -> Cache:
        """An empty cache with slots for the whole sequence; condition: class embeddings [B, dim]."""
        heads = self.blocks[0].attn.heads
        shape = (len(condition), heads, self.lvl_1L.shape[1], self.dim // heads)
        return Cache.empty(len(self.blocks), shape, condition)

    def embed(self, seen: Tensor | None, condition: Tensor, span: slice) -> Tensor:
        """The input of the blocks for the part ``span`` of the sequence.

        seen: canvases [B, n, channels]; None if ``span`` is the first scale
        condition: class embeddings [B, dim]; they come first if ``span`` starts at 0
        """
        pieces = [condition[:, None] + self.pos_start] if span.start == 0 else []
        pieces += [self.word_embed(seen.to(self.word_embed.weight.dtype))] if seen is not None else []
        return torch.cat(pieces, 1) + (self.lvl_embed(self.lvl_1L[:, span]) + self.pos_1LC[:, span])

    def run(
        self, x: Tensor, modulations: list[list[Tensor]], past: Past | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Run all blocks."""
        for place, (block, modulation) in enumerate(zip(self.blocks, modulations, strict=True)):
            x = block(x, modulation, bias, past, place)
        return x

    def read_out(self, x: Tensor, condition: Tensor) -> Tensor:
        """Hidden states -> logits."""
        logits: Tensor = self.head(self.head_nm(x, condition))
        return logits

    def causal(self) -> Tensor:
        """Bias [L, L]: tokens see the tokens of their scale and of the scales before."""
        level = self.lvl_1L[0]
        return torch.zeros(len(level), len(level), device=level.device).masked_fill(
            level[:, None] < level[None, :], -torch.inf
        )

    def logits(self, seen: Tensor, labels: Tensor) -> Tensor:
        """Teacher-forced logits [B, L, V] of all scales, in one pass. labels: [B]; seen: canvases [B, L - 1, channels],
        computed from tokens by ``MultiScaleQuantiser.inputs``."""
        condition = self.class_emb(labels)
        x = self.embed(seen, condition, slice(0, self.lvl_1L.shape[1]))
        return self.read_out(self.run(x, self.modulations(condition), bias=self.causal()), condition)


class NextScale(Bundled):
    """The base class of VAR and its sparse versions."""

    weights_folder: ClassVar[Path] = Path(__file__).parent / "weights"
    family: ClassVar[str] = "next-scale"
    layout: ClassVar[Layout] = VAR_LAYOUT
    network: VARNetwork

    @classmethod
    def new_network(cls, preset: Preset) -> VARNetwork:
        return VARNetwork(**preset.network)

    @classmethod
    def trainee(cls, network: nn.Module, tokenizer: nn.Module) -> Trainee:
        return ScaleTrainee(network, tokenizer)

    @property
    def grids(self) -> tuple[int, ...]:
        return tuple(self.network.scales)

    @property
    def quantiser(self) -> MultiScaleQuantiser:
        """The tokenizer's multi-scale quantiser."""
        return self.tokenizer.quantiser  # type: ignore[return-value]

    def schedule(self, knobs: Mapping[str, KnobValue]) -> list[list[int]]:
        spans = [self.network.span(scale) for scale in range(len(self.network.scales))]
        return [list(range(span.start, span.stop)) for span in spans]

    def runs(self, knobs: Mapping[str, KnobValue], branches: int, images: int) -> Sequence[Run]:
        """For each scale, the function that runs all blocks while a batch is sampled. Sparse versions run less.

        branches: 2 with guidance, else 1.
        """
        return [self.network.run] * len(self.network.scales)

    @torch.inference_mode()
    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        net, quantiser, count = self.network, self.quantiser, len(self.network.scales)
        condition = net.class_emb(self.branches(labels, sampling))
        modulations, cache = net.modulations(condition), net.new_cache(condition)
        branches = len(condition) // len(labels)
        runs = self.runs(knobs, branches, len(labels))
        canvas = quantiser.blank(len(labels))
        seen, tokens = None, []
        for scale in range(count):
            span = net.span(scale)
            past = (cache, Slots(span.stop))
            x = runs[scale](net.embed(seen, condition, span), modulations, past)
            logits = guide(net.read_out(x, condition), sampling, scale, count)
            tokens.append(draw(logits, noise[:, span], sampling))
            if scale + 1 < count:
                canvas = canvas + quantiser.grow(tokens[-1], scale)
                seen = quantiser.shrink(canvas, scale + 1).flatten(2).transpose(1, 2)
                seen = seen.repeat(branches, 1, 1)
        return Generated(torch.cat(tokens, 1), torch.full((len(labels),), count, device=labels.device))

    def published_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        """MACs of the authors' code, which computes every block's adaLN anew at every scale."""
        net, form = self.network, self.closed_form(knobs, sampling)
        again = (1 + sampling.guided) * self.conditions * 6 * net.dim**2 * (len(net.scales) - 1)
        return {**form, "condition": form["condition"] + again}

    @property
    def conditions(self) -> int:
        """How many adaLN layers all blocks have together."""
        return 1 if self.network.shared_ada_lin else len(self.network.blocks)

    def dense_macs(self, sampling: Sampling) -> dict[str, float]:
        """A dict from each part of the dense network to its MACs, in closed form."""
        steps = self.dense_steps(sampling)
        form: dict[str, float] = {part: sum(step[part] for step in steps) for part in steps[0]}
        form["condition"] += (1 + sampling.guided) * self.conditions * 6 * self.network.dim**2
        form["tokenizer"] += self.tokenizer.decode_macs()
        return form

    def dense_steps(self, sampling: Sampling) -> list[dict[str, float]]:
        """For each scale, a dict from part to MACs, in closed form. Two things happen only once per image and are not
        counted: the adaLN of the blocks and the decoding of the tokens."""
        net, branches, past = self.network, 1 + sampling.guided, 0
        dim, layers, phi = net.dim, len(net.blocks), self.quantiser.lookup_macs() // len(net.scales)
        steps: list[dict[str, float]] = []
        for scale, side in enumerate(net.scales):
            length = side * side
            past += length
            steps.append(
                {
                    "attention": branches * layers * (4 * dim * dim * length + 2 * dim * length * past),
                    "ffn": branches * layers * 8 * dim * dim * length,
                    "condition": branches * 2 * dim * dim,
                    "embedding": branches * (length if scale else 0) * net.word_embed.in_features * dim,
                    "head": branches * dim * self.vocabulary * length,
                    "tokenizer": phi if scale + 1 < len(net.scales) else 0,
                }
            )
        return steps


class VAR(NextScale):
    """VAR: next-scale prediction."""

    name: ClassVar[str] = "var"
    title: ClassVar[str] = "VAR"
    paper: ClassVar[str] = "Tian et al., arXiv 2404.02905 (VAR)"
    differences: ClassVar[str] = (
        "next-scale, 6 scales, 104 tokens of a multi-scale tokenizer; GELU, layer norm, l2-normed attention, learned "
        "positions; adaLN by class; guidance ramp"
    )
    presets: ClassVar[Mapping[str, Preset]] = VAR_PRESETS

    def closed_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        return self.dense_macs(sampling)

    def step_forms(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> list[dict[str, float]]:
        return self.dense_steps(sampling)
