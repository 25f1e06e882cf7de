"""Transformer encoder and decoder of XQGAN-8192 (lxa9867/ImageFolder, arXiv 2412.01762), the tokenizer that EAR uses.

Both are vision transformers of DINOv2's shape (arXiv 2304.07193). Their sequence holds image patches and latent tokens
side by side.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.attention import attend


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of encoder and decoder."""

    grid: int  # grid x grid tokens
    patch: int  # a token covers patch x patch pixels
    codes: int  # channels of the quantised vectors
    dim: int = 768
    layers: int = 12
    heads: int = 12


class SelfAttention(nn.Module):
    """Attention with biases."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out: Tensor = self.proj(attend(q, k, v, None, q.shape[-1] ** -0.5))
        return out


class MLP(nn.Module):
    """fc2(gelu(fc1 x)), with the exact GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Scale(nn.Module):
    """x * gamma, with a learned gamma for each channel (LayerScale)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm attention and MLP. The output of each is scaled (``Scale``) and then added to the residual stream."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(dim, eps=1e-6), SelfAttention(dim, heads), Scale(dim)
        self.norm2, self.mlp, self.ls2 = nn.LayerNorm(dim, eps=1e-6), MLP(dim, 4 * dim), Scale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class ViT(nn.Module):
    """Transformer blocks and a final norm. A class token and grid^2 other tokens have learned position embeddings."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + config.grid**2, config.dim) * 0.02)
        self.blocks = nn.ModuleList(Block(config.dim, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)

    def headed(self, tokens: Tensor) -> Tensor:
        """Put the class token in front, then add position embeddings: [B, grid^2, dim] -> [B, 1 + grid^2, dim]."""
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1) + self.pos_embed

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class Encoder(nn.Module):
    """images [B, 3, H, W] in [-1, 1] -> vectors [B, C, grid, grid], with C = ``ViTConfig.codes`` channels.

    In the sequence, learned latent tokens follow the patches. The latent tokens get the same position embeddings as the
    patches. The outputs of the latent tokens become the vectors.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.model = ViT(config)
        self.patch_embed = nn.Conv2d(3, config.dim, config.patch, config.patch)
        self.latent_tokens = nn.Parameter(torch.randn(1, config.grid**2, config.dim) * 0.02)
        self.lvl_embed = nn.Embedding(2, config.dim)
        self.quant_conv = nn.Conv2d(config.dim, config.codes, 1)
        self.grid = config.grid

    def forward(self, images: Tensor) -> Tensor:
        patches = self.model.headed(self.patch_embed(images).flatten(2).transpose(1, 2)) + self.lvl_embed.weight[0]
        latents = self.latent_tokens + self.model.pos_embed[:, 1:] + self.lvl_embed.weight[1]
        out = self.model(torch.cat([patches, latents.expand(len(images), -1, -1)], 1))[:, -(self.grid**2) :]
        vectors: Tensor = self.quant_conv(out.transpose(1, 2).unflatten(2, (self.grid, self.grid)))
        return vectors


class Decoder(nn.Module):
    """vectors [B, C, grid, grid], with C = ``ViTConfig.codes`` channels -> images [B, 3, H, W], roughly in [-1, 1].

    In the sequence, mask tokens come before the vectors. The outputs of the mask tokens become the image patches. The
    class token stands in front of the mask tokens and again in front of the vectors. Mask tokens and vectors get the
    same position embeddings.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.post_quant_conv = nn.Conv2d(config.codes, config.dim, 1)
        self.model = ViT(config)
        self.mask_token = nn.Parameter(torch.randn(1, 1, config.dim) * 0.02)
        self.lvl_embed = nn.Embedding(2, config.dim)
        self.to_pixel = nn.Linear(config.dim, 3 * config.patch**2)
        self.config = config

    def forward(self, vectors: Tensor) -> Tensor:
        side, patch, count = self.config.grid, self.config.patch, self.config.grid**2
        latents = self.post_quant_conv(vectors).flatten(2).transpose(1, 2)
        masks = self.mask_token.expand_as(latents)
        both = [self.model.headed(x) + self.lvl_embed.weight[level] for level, x in enumerate((masks, latents))]
        pixels = self.to_pixel(self.model(torch.cat(both, 1))[:, 1 : 1 + count])
        image: Tensor = pixels.view(len(pixels), side, side, patch, patch, 3).permute(0, 5, 1, 3, 2, 4)
        return image.reshape(len(pixels), 3, side * patch, side * patch)

    def macs(self) -> int:
        """MACs of all matrix products and attention for one image, in closed form."""
        config, count = self.config, self.config.grid**2
        length, dim = 2 * (1 + count), config.dim
        blocks = config.layers * (12 * dim * dim * length + 2 * dim * length * length)
        return count * config.codes * dim + blocks + count * dim * 3 * config.patch**2
