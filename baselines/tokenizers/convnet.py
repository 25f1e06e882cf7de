"""Encoder and decoder of the ``fmnist`` tokenizers: 28x28 grey images to a 7x7 grid of vectors and back.

A small VQGAN-class network (Esser et al., arXiv 2012.09841): residual convolutions, group norm, SiLU. One choice is
ours: the encoder first folds each square of 2x2 pixels into channels, and the decoder unfolds them near its end. Only
the decoder's last convolution therefore runs at full size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID = 7


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip around them; [B, width, H, W] -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            # The second convolution starts small and so needs no norm: norms took a fifth of a training step.
            self.conv2.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class Encoder(nn.Sequential):
    """images [B, 1, 28, 28] in [-1, 1] -> vectors [B, channels, 7, 7]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4, width, 3, padding=1),
            Residual(width),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            Residual(2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, channels, 1),
        )


class Decoder(nn.Sequential):
    """vectors [B, channels, 7, 7] -> images [B, 1, 28, 28], roughly in [-1, 1]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(channels, 2 * width, 3, padding=1),
            Residual(2 * width),
            nn.Conv2d(2 * width, 4 * width, 1),
            nn.PixelShuffle(2),
            nn.Conv2d(width, width, 3, padding=1),
            Residual(width),
            nn.SiLU(),
            nn.Conv2d(width, 4 * 16, 3, padding=1),
            nn.PixelShuffle(2),
            nn.SiLU(),
            nn.Conv2d(16, 1, 3, padding=1),
        )
        self.channels, self.width = channels, width

    def macs(self) -> int:
        """MACs of all convolutions for one image, in closed form."""
        c, w = self.channels, self.width
        at7 = 9 * c * 2 * w + 2 * 9 * (2 * w) ** 2 + 2 * w * 4 * w
        at14 = 9 * w * w + 2 * 9 * w * w + 9 * w * 4 * 16
        return 7 * 7 * at7 + 14 * 14 * at14 + 28 * 28 * 9 * 16


def to_unit(x: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1], clamped."""
    return torch.clamp(x.float() * 0.5 + 0.5, 0, 1)
