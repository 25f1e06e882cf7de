"""The published tokenizers for ImageNet: configurations of one convolutional and one transformer network."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from baselines.tokenizers import vit, vqgan
from baselines.tokenizers.vq import FixedCodes, MultiScaleQuantiser, Quantiser, Tokenizer

VAR_SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
VAR_SCALES_512 = (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)

VQ16 = vqgan.VQGANConfig(width=128, vectors=256, codes=8, kernel=1)
VAR_VAE = vqgan.VQGANConfig(width=160, vectors=32, codes=32, kernel=3)
XQGAN = vit.ViTConfig(grid=16, patch=16, codes=32)


def vq16(grid: int, size: int = 0, vocabulary: int = 16384, config: vqgan.VQGANConfig = VQ16) -> Tokenizer:
    """LlamaGen's VQ-16: codes have length 1 and are chosen by angle.

    Decoded images have 16 x ``grid`` pixels per side and are then resized to ``size``, unless ``size`` is 0.
    """
    quantiser = Quantiser(FixedCodes(vocabulary, config.codes, cosine=True, unit=True), (grid,))
    return Tokenizer(quantiser, vqgan.Encoder(config), vqgan.Decoder(config, grid), size)


def var_vae(
    scales: Sequence[int], vocabulary: int = 4096, config: vqgan.VQGANConfig = VAR_VAE, phis: int = 4
) -> Tokenizer:
    """VAR's multi-scale VQ-VAE: codes are chosen by distance.

    The scales share ``phis`` smoothing convolutions (see ``MultiScaleQuantiser``).
    """
    quantiser = MultiScaleQuantiser(FixedCodes(vocabulary, config.codes), scales, phis)
    return Tokenizer(quantiser, vqgan.Encoder(config), vqgan.Decoder(config, scales[-1]))


def xqgan(vocabulary: int = 8192, config: vit.ViTConfig = XQGAN) -> Tokenizer:
    """XQGAN as EAR uses it: codes are chosen by angle, but decoded as they are, not scaled to length 1."""
    quantiser = Quantiser(FixedCodes(vocabulary, config.codes, cosine=True), (config.grid,))
    return Tokenizer(quantiser, vit.Encoder(config), vit.Decoder(config))


class Entry(NamedTuple):
    """A published tokenizer."""

    file: str  # name of the weights file
    build: Callable[[], Tokenizer]  # builds the tokenizer with random weights


PUBLISHED: dict[str, Entry] = {
    "vq_ds16": Entry("vq_ds16_c2i.pt", partial(vq16, 16)),
    "vq_ds16-384": Entry("vq_ds16_c2i.pt", partial(vq16, 24, 256)),
    "vae_ch160v4096z32": Entry("vae_ch160v4096z32.pth", partial(var_vae, VAR_SCALES)),
    "vae_ch160v4096z32-512": Entry("vae_ch160v4096z32.pth", partial(var_vae, VAR_SCALES_512)),
    "xqgan-8192": Entry("XQGAN-8192.pt", xqgan),
}
"""A dict from the name that presets use to the published tokenizer."""
