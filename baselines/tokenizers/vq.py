"""Single-scale and multi-scale vector quantisation.

Single-scale: VQ-VAE (van den Oord et al., arXiv 1711.00937) with moving-average codes (appendix A.1 of that paper).
Multi-scale: VAR's residual quantiser (arXiv 2404.02905, algorithms 1 and 2).

Our own choices:
 - The multi-scale codes are moving averages as well. In these averages, a token of a coarse scale weighs as much as
   all positions of the finest grid that it covers.
 - Codes that fall out of use restart at a vector of the batch.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.tokenizers.convnet import GRID, Decoder, Encoder, to_unit

DECAY = 0.99


class Codes(nn.Module):
    """A table of codes [V, C] to choose from."""

    codes: Tensor

    def nearest(self, vectors: Tensor) -> Tensor:
        """vectors [N, C] -> indices [N] of the nearest codes."""
        return (self.codes.square().sum(1) - 2 * vectors @ self.codes.T).argmin(1)

    def read(self, index: Tensor) -> Tensor:
        """Indices [...] -> vectors [..., C]."""
        return self.codes[index]


class FixedCodes(Codes):
    """Codes of a published tokenizer.

    cosine: codes are chosen by angle instead of distance
    unit: codes are scaled to length 1 when they are read

    LlamaGen's tokenizer has both, EAR's (XQGAN) has ``cosine`` only, VAR's has neither.
    """

    def __init__(self, size: int, channels: int, cosine: bool = False, unit: bool = False) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.empty(size, channels).uniform_(-1 / size, 1 / size))
        self.cosine, self.unit = cosine, unit

    def nearest(self, vectors: Tensor) -> Tensor:
        if self.cosine:
            return (F.normalize(vectors, dim=-1) @ F.normalize(self.codes, dim=-1).T).argmax(1)
        return super().nearest(vectors)

    def read(self, index: Tensor) -> Tensor:
        return F.normalize(self.codes[index], dim=-1) if self.unit else self.codes[index]


class Codebook(Codes):
    """Codes that are learned: each code is a moving average of the vectors to which it was nearest."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randn(size, channels))
        self.register_buffer("mass", torch.zeros(size))
        self.register_buffer("sums", torch.zeros(size, channels))
        self.mass: Tensor
        self.sums: Tensor

    @torch.no_grad()
    def learn(self, vectors: Tensor, index: Tensor, weights: Tensor, generator: torch.Generator) -> None:
        """One moving-average step; weights [N] say how much each vector counts."""
        mass = torch.zeros_like(self.mass).index_add_(0, index, weights)
        sums = torch.zeros_like(self.sums).index_add_(0, index, vectors * weights[:, None])
        self.mass.lerp_(mass, 1 - DECAY)
        self.sums.lerp_(sums, 1 - DECAY)
        self.codes.copy_(self.sums / self.mass.clamp(min=1e-6)[:, None])
        dead = self.mass < 0.05 * weights.sum() / len(self.mass)
        fresh = torch.multinomial(weights, int(dead.sum()), generator=generator) if dead.any() else index[:0]
        self.codes[dead] = vectors[fresh]
        self.mass[dead] = 0.5 * weights.sum() / len(self.mass)
        self.sums[dead] = self.codes[dead] * self.mass[dead, None]


class Quantised:
    """The result of quantising while training.

    vectors: [B, C, grid, grid], for the decoder
    loss: commitment loss; with several scales, the squared error of the reconstructed vectors is added
    tokens: [B, positions]
    seen: three tensors for ``Codebook.learn``, described below

    The tensors in ``seen`` are the vectors before they are quantised [N, C], the indices of the nearest codes [N], and
    the weights of the vectors [N].
    """

    def __init__(self, vectors: Tensor, loss: Tensor, tokens: Tensor, seen: tuple[Tensor, Tensor, Tensor]) -> None:
        self.vectors, self.loss, self.tokens, self.seen = vectors, loss, tokens, seen


class Quantiser(nn.Module):
    """Single-scale quantisation: each vector of the grid is replaced by the nearest code.

    scales: the side of each token grid. Single-scale quantisation has one token grid. The subclass
    ``MultiScaleQuantiser`` has one token grid for each scale. The last side is also the side of the vector grid.
    """

    def __init__(self, codebook: Codes, scales: Sequence[int] = (GRID,)) -> None:
        super().__init__()
        self.codebook = codebook
        self.scales, self.grid = tuple(scales), scales[-1]

    @property
    def positions(self) -> int:
        return sum(side * side for side in self.scales)

    def forward(self, z: Tensor) -> Quantised:
        """z: the encoder's vectors, [B, C, grid, grid]."""
        flat = z.permute(0, 2, 3, 1).flatten(0, 2)
        index = self.codebook.nearest(flat.detach())
        vectors = self.codebook.read(index).view(len(z), *z.shape[2:], -1).permute(0, 3, 1, 2)
        loss = F.mse_loss(z, vectors)
        seen = (flat.detach(), index, torch.ones(len(flat)))
        return Quantised(z + (vectors - z).detach(), loss, index.view(len(z), -1), seen)

    def lookup(self, tokens: Tensor) -> Tensor:
        """tokens [B, positions] -> vectors [B, C, grid, grid]."""
        return self.codebook.read(tokens).permute(0, 2, 1).unflatten(2, (self.grid, self.grid))

    def lookup_macs(self) -> int:
        """MACs of ``lookup`` for one image, in closed form."""
        return 0


class MultiScaleQuantiser(Quantiser):
    """Residual quantisation over several scales.

    The scales are quantised one after the other. The canvas is the sum of the contributions of all scales so far. The
    residual is the encoder's vectors minus the canvas. At each scale the residual is averaged down, quantised,
    interpolated up and smoothed by phi. The result is the contribution of the scale; it is added to the canvas.

    phi_k(h) = h / 2 + conv3x3(h) / 2. The scales share ``phis`` such convolutions, as in VAR.
    """

    def __init__(self, codebook: Codes, scales: Sequence[int], phis: int = 4) -> None:
        super().__init__(codebook, scales)
        channels = codebook.codes.shape[1]
        self.phis = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(phis))

    def phi(self, scale: int) -> nn.Module:
        """The convolution that a scale uses; scale: the index of the scale.

        Each scale and each convolution has a coordinate. The scales lie evenly spaced from 0 to 1, and the convolutions
        lie evenly spaced inside this interval. A scale uses the convolution of the nearest coordinate.
        """
        # In float64 by numpy, as when VAR was trained: rounding decides between two equally near convolutions.
        count = len(self.phis)
        margin = 1 / (3 if count == 4 else 2) / count
        ticks = np.linspace(margin, 1 - margin, count)
        return self.phis[int(np.abs(ticks - scale / max(len(self.scales) - 1, 1)).argmin())]

    def grow(self, index: Tensor, scale: int) -> Tensor:
        """tokens [B, side^2] of a scale -> what they add to the canvas, [B, C, grid, grid]."""
        side = self.scales[scale]
        h = self.codebook.read(index).permute(0, 2, 1).unflatten(2, (side, side))
        if side != self.grid:
            h = F.interpolate(h, size=(self.grid, self.grid), mode="bicubic")
        # With channels last, oneDNN gives an image the same bits in a batch of 1 and of 64; in the usual layout it does
        # not.
        h = h.contiguous(memory_format=torch.channels_last)
        return h * 0.5 + self.phi(scale)(h) * 0.5

    def shrink(self, canvas: Tensor, scale: int) -> Tensor:
        """canvas [B, C, grid, grid] -> [B, C, side, side], averaged over areas."""
        side = self.scales[scale]
        return canvas if side == self.grid else F.interpolate(canvas, size=(side, side), mode="area")

    def forward(self, z: Tensor) -> Quantised:
        target, rest = z.detach(), z.detach()
        canvas = torch.zeros_like(target)
        loss = z.new_zeros(())
        seen: list[tuple[Tensor, Tensor, Tensor]] = []
        for scale, side in enumerate(self.scales):
            flat = self.shrink(rest, scale).permute(0, 2, 3, 1).flatten(0, 2)
            index = self.codebook.nearest(flat)
            seen.append((flat, index, torch.full((len(flat),), (self.grid / side) ** 2)))
            canvas = canvas + self.grow(index.view(len(z), -1), scale)
            rest = target - canvas.detach()
            loss = loss + 0.25 * F.mse_loss(canvas.detach(), z) + F.mse_loss(canvas, target)
        flat, index, weights = (torch.cat(column) for column in zip(*seen, strict=True))
        tokens = torch.cat([index.view(len(z), -1) for _, index, _ in seen], 1)
        return Quantised(z + (canvas - z).detach(), 4 * loss / len(self.scales), tokens, (flat, index, weights))

    def blank(self, count: int) -> Tensor:
        """Canvases of zeros for ``count`` images, [count, C, grid, grid]."""
        return self.codebook.codes.new_zeros(count, self.codebook.codes.shape[1], self.grid, self.grid)

    def split(self, tokens: Tensor) -> list[Tensor]:
        """tokens [B, positions] -> the tokens [B, side^2] of each scale."""
        return list(tokens.split([side * side for side in self.scales], 1))

    def inputs(self, tokens: Tensor) -> Tensor:
        """tokens [B, positions] -> VAR's inputs [B, positions - 1, C].

        Each scale after the first gets as input the canvas of the scales before it, averaged down to the scale's grid.
        """
        canvas = self.blank(len(tokens))
        seen = []
        for scale, part in enumerate(self.split(tokens)[:-1]):
            canvas = canvas + self.grow(part, scale)
            seen.append(self.shrink(canvas, scale + 1).flatten(2).transpose(1, 2))
        return torch.cat(seen, 1)

    def lookup(self, tokens: Tensor) -> Tensor:
        return torch.stack([self.grow(part, scale) for scale, part in enumerate(self.split(tokens))]).sum(0)

    def lookup_macs(self) -> int:
        return len(self.scales) * 9 * self.codebook.codes.shape[1] ** 2 * self.grid**2


class Tokenizer(nn.Module):
    """Encoder, quantiser and decoder. Tokens lie in [0, vocabulary); images are float in [0, 1].

    encoder: images [B, channels, H, W] in [-1, 1] -> vectors [B, C, grid, grid]
    decoder: vectors -> images, roughly in [-1, 1]; ``decoder.macs()`` gives the MACs in closed form
    size: decoded images are resized to size x size pixels; 0 leaves them as they are
    """

    part = "tokenizer"

    def __init__(self, quantiser: Quantiser, encoder: nn.Module, decoder: nn.Module, size: int = 0) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.quantiser, self.size = quantiser, size

    @property
    def positions(self) -> int:
        """Number of tokens of an image."""
        return self.quantiser.positions

    @property
    def vocabulary(self) -> int:
        """Number of codes."""
        return len(self.quantiser.codebook.codes)

    def encode(self, images: Tensor) -> Tensor:
        """images [B, channels, H, W] in [0, 1] -> tokens int64 [B, positions]."""
        tokens: Tensor = self.quantiser(self.encoder(images * 2 - 1).float()).tokens
        return tokens

    def decode(self, tokens: Tensor) -> Tensor:
        """tokens [B, positions] -> images [B, channels, H, W] in [0, 1]."""
        precision = next(self.decoder.parameters()).dtype
        vectors = self.quantiser.lookup(tokens).to(precision, memory_format=torch.channels_last)  # the faster layout
        images = self.decoder(vectors).float()
        if self.size:
            images = F.interpolate(images, size=(self.size, self.size), mode="bicubic")
        return to_unit(images)

    def decode_macs(self) -> int:
        """MACs of ``decode`` for one image, in closed form."""
        return self.quantiser.lookup_macs() + self.decoder.macs()  # type: ignore[operator]


def single_scale(size: int = 512, channels: int = 16, width: int = 32) -> Tokenizer:
    """The single-scale tokenizer of ``fmnist``: 7x7 = 49 tokens."""
    return Tokenizer(Quantiser(Codebook(size, channels)), Encoder(channels, width), Decoder(channels, width))


def multi_scale(
    size: int = 512, channels: int = 16, width: int = 32, scales: Sequence[int] = (1, 2, 3, 4, 5, 7)
) -> Tokenizer:
    """The multi-scale tokenizer of ``fmnist``: 104 tokens on grids with sides 1, 2, 3, 4, 5, 7.

    Encoder and decoder are the same as in ``single_scale``.
    """
    quantiser = MultiScaleQuantiser(Codebook(size, channels), scales)
    return Tokenizer(quantiser, Encoder(channels, width), Decoder(channels, width))
