"""LlamaGen's transformer (arXiv 2406.06525; FoundationVision/LlamaGen): RMSNorm, SwiGLU, 2-D RoPE and KV cache. EAR
adds adaLN to this transformer (facts/METHODS.md). Raster AR and next-set prediction are both built on ``Trunk``.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.attention import attend
from baselines.linear import Linear


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


def rope_table(grid: int, head_dim: int, base: float = 10000.0) -> Tensor:
    """Rotations of 2-D RoPE, [1 + grid^2, head_dim / 2, 2] (cos, sin).

    ``rotate`` rotates pairs of neighbouring values. The first half of the pairs is rotated by row, the second half by
    column. Entry 0 is for the class token. It is all zeros, as in LlamaGen's code. The query and key of the class token
    therefore become zero, and only its value counts.
    """
    quarter = head_dim // 4
    freqs = base ** (-torch.arange(quarter) / quarter)
    angles = torch.outer(torch.arange(grid), freqs)
    rows = angles[:, None, :].expand(grid, grid, quarter)
    both = torch.cat([rows, rows.transpose(0, 1)], -1).flatten(0, 1)
    places = torch.stack([both.cos(), both.sin()], -1)
    return torch.cat([torch.zeros(1, *places.shape[1:]), places])


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate x [B, heads, n, head_dim] by rope [B or 1, n, head_dim / 2, 2]; neighbouring values make a pair.

    The rotation is computed in float32 and returned in x's precision.
    """
    # A pair is a complex number. This needs one product instead of four on strided halves; the four took a sixth of the
    # time of sampling.
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.view_as_complex(rope)[:, None]).flatten(-2).to(x.dtype)


@dataclass
class Slots:
    """For the n tokens of one step: the slots of the KV cache to which they write, and the slots to which they
    attend."""

    reach: int  # how many slots are attended to: slots 0 to reach - 1
    index: Tensor | None = None  # [B, n], the slot that each token writes; None: the last n of slots 0 to reach - 1
    bias: Tensor | None = None  # [B or 1, 1, n, reach], added to the scores; None: all slots are seen


@dataclass
class Cache:
    """Keys and values of every layer, [B, heads, slots, head_dim] each."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    @classmethod
    def empty(cls, layers: int, shape: tuple[int, int, int, int], like: Tensor) -> "Cache":
        """All zeros; shape = (B, heads, slots, head_dim)."""
        return cls([like.new_zeros(shape) for _ in range(layers)], [like.new_zeros(shape) for _ in range(layers)])

    def write(self, layer: int, slots: Slots, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys k and the values v of n tokens in the slots to which the tokens write. Returns the keys and
        the values of all slots to which the tokens attend.

        k, v: [B, heads, n, head_dim]. The results have the shape [B, heads, slots.reach, head_dim].
        """
        for store, new in ((self.keys[layer], k), (self.values[layer], v)):
            if slots.index is None:
                store[:, :, slots.reach - new.shape[2] : slots.reach] = new
            else:
                store.scatter_(2, slots.index[:, None, :, None].expand_as(new), new)
        return self.keys[layer][:, :, : slots.reach], self.values[layer][:, :, : slots.reach]

    def keep(self, rows: Tensor) -> None:
        """Keep only some rows of the batch."""
        self.keys = [k[rows] for k in self.keys]
        self.values = [v[rows] for v in self.values]


class Attention(nn.Module):
    """Self-attention.

    The argument ``bias`` is the attention mask: it is added to the scores and hides tokens. With a cache, the mask is
    ``Slots.bias`` instead.
    """

    part = "attention"

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wqkv, self.wo = Linear(dim, 3 * dim, bias=False), Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, rope: Tensor, bias: Tensor | None, store: tuple[Cache, int, Slots] | None) -> Tensor:
        q, k, v = self.wqkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, rope), rotate(k, rope)
        if store is not None:
            cache, layer, slots = store
            k, v = cache.write(layer, slots, k, v)
            bias = slots.bias
        out: Tensor = self.wo(attend(q, k, v, bias, q.shape[-1] ** -0.5))
        return out


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) * w3 x)."""

    part = "ffn"

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1, self.w3 = Linear(dim, hidden, bias=False), Linear(dim, hidden, bias=False)
        self.w2 = Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class AdaLN(nn.Sequential):
    """class embedding [B, dim] -> six modulations [B, 1, dim], in EAR's order: gamma1, gamma2, scale1, scale2, shift1,
    shift2."""

    part = "condition"

    def __init__(self, dim: int) -> None:
        super().__init__(nn.SiLU(), Linear(dim, 6 * dim))

    def forward(self, condition: Tensor) -> list[Tensor]:
        out: Tensor = super().forward(condition)  # type: ignore[no-untyped-call]
        return list(out.unsqueeze(1).chunk(6, -1))


class Block(nn.Module):
    """Attention and SwiGLU, each with a norm before it; with ``adaln`` the class modulates both (EAR)."""

    def __init__(self, dim: int, heads: int, hidden: int, adaln: bool) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(dim, heads), FeedForward(dim, hidden)
        self.attention_norm, self.ffn_norm = RMSNorm(dim), RMSNorm(dim)
        self.ada_lin = AdaLN(dim) if adaln else None

    def forward(
        self,
        x: Tensor,
        rope: Tensor,
        bias: Tensor | None,
        modulation: list[Tensor] | None,
        store: tuple[Cache, int, Slots] | None,
    ) -> Tensor:
        if modulation is None:
            x = x + self.attention(self.attention_norm(x), rope, bias, store)
            return x + self.feed_forward(self.ffn_norm(x))
        gamma1, gamma2, scale1, scale2, shift1, shift2 = modulation
        h = self.attention(torch.addcmul(shift1, self.attention_norm(x), 1 + scale1), rope, bias, store)
        x = torch.addcmul(x, gamma1, h)
        return torch.addcmul(x, gamma2, self.feed_forward(torch.addcmul(shift2, self.ffn_norm(x), 1 + scale2)))


class Trunk(nn.Module):
    """Blocks, final norm and head, over the sequence [class, places...]. Subclasses define the input.

    classes: number of classes; the class embedding has one more row for "no class", which guidance needs
    heads: dim / heads must be a multiple of 4
    multiple_of: SwiGLU's width is 8/3 dim, rounded up to a multiple of this number (LlamaGen: 256)
    """

    rope: Tensor

    def __init__(
        self,
        vocabulary: int,
        grid: int,
        classes: int,
        dim: int,
        layers: int,
        heads: int,
        adaln: bool,
        multiple_of: int = 32,
    ) -> None:
        super().__init__()
        hidden = -(-(8 * dim // 3) // multiple_of) * multiple_of
        self.dim, self.heads, self.classes, self.grid = dim, heads, classes, grid
        self.tok_embeddings, self.cls_embedding = nn.Embedding(vocabulary, dim), nn.Embedding(classes + 1, dim)
        blocks = nn.ModuleList(Block(dim, heads, hidden, adaln) for _ in range(layers))
        self.layers: list[Block] = blocks  # type: ignore[assignment]
        self.norm, self.output = RMSNorm(dim), Linear(dim, vocabulary, bias=False)
        self.output.part = "head"  # type: ignore[assignment]
        self.register_buffer("rope", rope_table(grid, dim // heads), persistent=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.04)

    def modulations(self, condition: Tensor) -> list[list[Tensor] | None]:
        """The modulations of every layer (None without adaLN), computed once for each image.

        condition: class embeddings [B, dim].
        """
        return [layer.ada_lin(condition) if layer.ada_lin else None for layer in self.layers]

    def run(
        self,
        x: Tensor,
        rope: Tensor,
        modulations: list[list[Tensor] | None],
        bias: Tensor | None = None,
        store: tuple[Cache, Slots] | None = None,
    ) -> Tensor:
        """Run x [B, n, dim] through all layers and the final norm. The cache in ``store`` gets keys and values."""
        for place, (layer, modulation) in enumerate(zip(self.layers, modulations, strict=True)):
            x = layer(x, rope, bias, modulation, (store[0], place, store[1]) if store else None)
        normed: Tensor = self.norm(x)
        return normed

    def new_cache(self, rows: int, slots: int) -> Cache:
        """An empty cache."""
        shape = (rows, self.heads, slots, self.dim // self.heads)
        return Cache.empty(len(self.layers), shape, self.norm.weight)
