"""The published tokenizers at tiny sizes, against what the official code gave for the same weights."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines import layouts
from baselines.layouts import load_published
from baselines.tokenizers.convnet import to_unit
from baselines.tokenizers.published import var_vae, vq16, xqgan
from baselines.tokenizers.vit import ViTConfig
from baselines.tokenizers.vq import MultiScaleQuantiser, Tokenizer
from baselines.tokenizers.vqgan import VQGANConfig
from tests.helpers.published import FOLDER, fixture, published_state


def loaded(name: str, tokenizer: Tokenizer, layout: layouts.Layout, folder: Path) -> dict[str, Tensor]:
    """Load the fixture's weights through a file; gives the fixture's tensors."""
    found, about = fixture(name)
    torch.save({"model": published_state(about["state_dict"])}, folder / "tokenizer.pt")
    load_published(folder / "tokenizer.pt", tokenizer, layout)
    assert sum(p.numel() for p in tokenizer.parameters()) <= about["parameters"]
    return found


@torch.inference_mode()
def check(tokenizer: Tokenizer, found: dict[str, Tensor], images: Tensor) -> None:
    """Vectors, codes and images (in [0, 1]) are the official ones."""
    assert (tokenizer.encoder(found["images"]) - found["encoded"]).abs().max() < 1e-4
    assert torch.equal(tokenizer.encode(found["images"] * 0.5 + 0.5), found["codes"])
    assert (tokenizer.decode(found["tokens"]) - images).abs().max() < 1 / 255 / 100


def test_vq16_is_llamagens_to_the_number(tmp_path: Path) -> None:
    config = VQGANConfig(width=32, vectors=64, codes=8, kernel=1)
    tokenizer = vq16(4, vocabulary=32, config=config)
    found = loaded("llamagen_vq16_tiny", tokenizer, layouts.VQ16, tmp_path)
    check(tokenizer, found, to_unit(found["decoded"]))
    assert (tokenizer.quantiser.lookup(found["tokens"]) - found["entries"]).abs().max() < 1e-6


def test_var_vae_is_the_published_one_to_the_number(tmp_path: Path) -> None:
    config = VQGANConfig(width=32, vectors=8, codes=8, kernel=3)
    tokenizer = var_vae((1, 2, 3, 4), vocabulary=32, config=config)
    found = loaded("var_vae_tiny", tokenizer, layouts.var_vae(), tmp_path)
    check(tokenizer, found, found["decoded"])
    assert isinstance(tokenizer.quantiser, MultiScaleQuantiser)
    assert (tokenizer.quantiser.inputs(found["tokens"]) - found["inputs"]).abs().max() < 1e-4
    with torch.inference_mode():
        again = tokenizer.decode(tokenizer.encode(found["images"] * 0.5 + 0.5))
    assert (again - found["reconstructed"]).abs().max() < 1 / 255 / 100


def test_xqgan_is_the_published_one_to_the_number(tmp_path: Path) -> None:
    tokenizer = xqgan(vocabulary=32, config=ViTConfig(grid=4, patch=4, codes=8, dim=64, layers=2, heads=4))
    found = loaded("xqgan_tiny", tokenizer, layouts.XQGAN, tmp_path)
    check(tokenizer, found, to_unit(found["decoded"]))


@pytest.mark.parametrize("scales", [2, 3, 4, 7, 10])
def test_every_scale_has_the_published_phi(scales: int) -> None:
    expected = json.loads((FOLDER / "var_phi.json").read_text())[str(scales)]
    quantiser = var_vae(tuple(range(1, scales + 1)), 32, VQGANConfig(32, 8, 8, 3, (1,))).quantiser
    assert isinstance(quantiser, MultiScaleQuantiser)
    phis = list(quantiser.phis)
    assert [phis.index(quantiser.phi(scale)) for scale in range(scales)] == expected


def test_a_24x24_tokenizer_gives_images_of_256_pixels() -> None:
    config = VQGANConfig(width=32, vectors=64, codes=8, kernel=1)
    torch.manual_seed(0)
    plain, resized = vq16(3, 0, 32, config).eval(), vq16(3, 32, 32, config).eval()
    resized.load_state_dict(plain.state_dict())
    tokens = torch.randint(32, (1, 9))
    with torch.inference_mode():
        raw = plain.decoder(plain.quantiser.lookup(tokens))
        assert raw.shape == (1, 3, 48, 48)
        expected = to_unit(F.interpolate(raw, size=(32, 32), mode="bicubic"))
        assert torch.allclose(resized.decode(tokens), expected, rtol=0, atol=1 / 255 / 100)
