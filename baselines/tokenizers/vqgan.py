"""Convolutional encoder and decoder of VQGAN (Esser et al., arXiv 2012.09841).

Both consist of residual blocks, with self-attention at the lowest resolution. The encoder halves the resolution by
convolutions with stride 2. The decoder doubles the resolution by nearest neighbour upsampling.

Two tokenizers use this encoder and decoder: LlamaGen's VQ-16 (arXiv 2406.06525) and VAR's multi-scale VQ-VAE (arXiv
2404.02905). Their encoders and decoders differ in only two things: the sizes (``VQGANConfig``) and the names of the
tensors in the weight files (``baselines.layouts``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from baselines.attention import attend


@dataclass(frozen=True)
class VQGANConfig:
    """Sizes of encoder and decoder."""

    width: int  # channels of the first level
    vectors: int  # channels that ``conv_out`` of the encoder returns and ``conv_in`` of the decoder takes
    codes: int  # channels of the quantised vectors
    kernel: int  # kernel size of the convolutions right before and right after the quantiser
    # channels of each level in multiples of ``width``, from full resolution down; each level has half the resolution of
    # the one before
    multiples: tuple[int, ...] = (1, 1, 2, 2, 4)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from full resolution down."""
        return tuple(self.width * multiple for multiple in self.multiples)


def norm(width: int) -> nn.GroupNorm:
    """Group norm with 32 groups and eps 1e-6."""
    return nn.GroupNorm(32, width, eps=1e-6)


def conv_macs(*convs: nn.Conv2d, side: int) -> int:
    """MACs of convolutions whose output is side x side."""
    return sum(conv.weight.numel() for conv in convs) * side * side


class Residual(nn.Module):
    """Two 3x3 convolutions, each after norm and SiLU, with a skip around both.

    The skip is a 1x1 convolution if the width changes.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(width), nn.Conv2d(width, out, 3, padding=1)
        self.norm2, self.conv2 = norm(out), nn.Conv2d(out, out, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(width, out, 1) if width != out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return y + (x if self.nin_shortcut is None else self.nin_shortcut(x))

    def macs(self, side: int) -> int:
        """MACs for a grid of side x side positions."""
        skip = [] if self.nin_shortcut is None else [self.nin_shortcut]
        return conv_macs(self.conv1, self.conv2, *skip, side=side)


class Attention(nn.Module):
    """One head of self-attention over all positions of the grid, with a skip around it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.qkv, self.proj_out = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, -1)
        out = attend(q, k, v, None, x.shape[1] ** -0.5)
        return x + self.proj_out(out.transpose(1, 2).unflatten(2, x.shape[2:]))

    def macs(self, side: int) -> int:
        """MACs for a grid of side x side positions."""
        return conv_macs(self.qkv, self.proj_out, side=side) + 2 * self.proj_out.in_channels * side**4


class Down(nn.Module):
    """Halves the resolution by a 3x3 convolution with stride 2, padded at the right and at the bottom."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Up(nn.Module):
    """Doubles the resolution: repeats every value, then runs a 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Level(nn.Module):
    """Residual blocks at one resolution.

    attention: if True, an attention layer follows each block.
    resample: a layer that comes last and halves or doubles the resolution; None for no such layer.
    """

    def __init__(self, width: int, out: int, blocks: int, attention: bool, resample: Down | Up | None) -> None:
        super().__init__()
        self.block = nn.ModuleList(Residual(out if i else width, out) for i in range(blocks))
        self.attn = nn.ModuleList(Attention(out) for _ in range(blocks if attention else 0))
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        for place, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[place](x)
        return x if self.resample is None else self.resample(x)

    def macs(self, side: int) -> int:
        """MACs of the blocks on a grid of side x side. An upsampling to 2 side x 2 side is included."""
        own: int = sum(part.macs(side) for part in (*self.block, *self.attn))
        return own + (conv_macs(self.resample.conv, side=2 * side) if self.resample else 0)


class Middle(nn.Sequential):
    """Residual block, attention, residual block."""

    def __init__(self, width: int) -> None:
        super().__init__(Residual(width, width), Attention(width), Residual(width, width))

    def macs(self, side: int) -> int:
        """MACs for a grid of side x side positions."""
        return sum(part.macs(side) for part in self)  # type: ignore[operator]


class Encoder(nn.Module):
    """images [B, 3, H, W] in [-1, 1] -> vectors [B, C, H / s, W / s], with s = 2^(levels - 1).

    The vectors have C = ``VQGANConfig.codes`` channels. Each level has two residual blocks.
    """

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, config.width, 3, padding=1)
        self.levels = nn.ModuleList(_levels(config.width, config.widths, 2, Down))
        last = config.widths[-1]
        self.mid = Middle(last)
        self.norm_out, self.conv_out = norm(last), nn.Conv2d(last, config.vectors, 3, padding=1)
        self.quant_conv = nn.Conv2d(config.vectors, config.codes, config.kernel, padding=config.kernel // 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_in(images)
        for level in self.levels:
            x = level(x)
        out: Tensor = self.quant_conv(self.conv_out(F.silu(self.norm_out(self.mid(x)))))
        return out


class Decoder(nn.Module):
    """vectors [B, C, grid, grid] -> images [B, 3, H, W], roughly in [-1, 1].

    The vectors have C = ``VQGANConfig.codes`` channels. Each level has three residual blocks. The first level has the
    lowest resolution.
    """

    def __init__(self, config: VQGANConfig, grid: int) -> None:
        super().__init__()
        first, last = config.widths[-1], config.widths[0]
        self.grid = grid
        self.post_quant_conv = nn.Conv2d(config.codes, config.vectors, config.kernel, padding=config.kernel // 2)
        self.conv_in = nn.Conv2d(config.vectors, first, 3, padding=1)
        self.mid = Middle(first)
        self.levels = nn.ModuleList(_levels(first, config.widths[::-1], 3, Up))
        self.norm_out, self.conv_out = norm(last), nn.Conv2d(last, 3, 3, padding=1)

    def forward(self, vectors: Tensor) -> Tensor:
        x = self.mid(self.conv_in(self.post_quant_conv(vectors)))
        for level in self.levels:
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return out

    def macs(self) -> int:
        """MACs of all convolutions and attention for one image, in closed form."""
        side = self.grid
        total = conv_macs(self.post_quant_conv, self.conv_in, side=side) + self.mid.macs(side)
        for place, level in enumerate(self.levels):
            total += level.macs(side << place)  # type: ignore[operator]
        return total + conv_macs(self.conv_out, side=side << (len(self.levels) - 1))


def _levels(width: int, outs: Sequence[int], blocks: int, resample: type[Down] | type[Up]) -> list[Level]:
    """The levels in the order in which they run.

    The level of lowest resolution has attention; the last level has no resampling.
    """
    lowest = 0 if resample is Up else len(outs) - 1
    found = []
    for place, out in enumerate(outs):
        last = place == len(outs) - 1
        found.append(Level(width, out, blocks, place == lowest, None if last else resample(out)))
        width = out
    return found
