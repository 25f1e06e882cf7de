"""How the ``fmnist`` tokenizers are trained and what is reported about them.

There are three losses, and no adversarial one:
 - L1;
 - commitment, with weight 0.25 (the codes are moving averages and need no loss);
 - the perceptual distance of ``baselines.perceptual``; its network is not the network of the quality metric.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layouts import FILES, load_published
from baselines.perceptual import WEIGHTS as PERCEPTUAL_WEIGHTS
from baselines.perceptual import PerceptualNet
from baselines.tokenizers.published import PUBLISHED
from baselines.tokenizers.vq import Codebook, Tokenizer, multi_scale, single_scale
from harness.checkpoints import published as weights  # another name would change keys of methods
from harness.checkpoints.tensors import Uninitialised, read_weights
from harness.extractors.fmnist_cnn import load_fmnist_cnn
from harness.stages.quality.distributions import Moments, fid
from harness.training.loop import Plan, Trainee
from harness.training.recipe import Context, Recipe

FOLDER = Path(__file__).parents[1] / "weights"
BUILDERS: dict[str, Callable[[], Tokenizer]] = {"vq-fmnist": single_scale, "msvq-fmnist": multi_scale}


def tokenizer_weights(name: str) -> Path:
    """The path of a tokenizer's weight file. The function gives only the path and fetches nothing.

    A weight file is either bundled (it comes with arbench) or published (it is fetched from where its authors put it).
    """
    return weights.place(PUBLISHED[name].file) if name in PUBLISHED else FOLDER / f"{name}.safetensors"


def new_tokenizer(name: str) -> Tokenizer:
    """A tokenizer with random weights."""
    return PUBLISHED[name].build() if name in PUBLISHED else BUILDERS[name]()


def load_tokenizer(name: str, path: Path | None = None) -> Tokenizer:
    """A trained tokenizer in eval mode."""
    path = path or tokenizer_weights(name)
    if name in PUBLISHED:
        with Uninitialised():
            module = new_tokenizer(name)
        load_published(path, module, FILES[PUBLISHED[name].file].layout)
    else:
        module = new_tokenizer(name)
        read_weights(path, module)
    return module


class TokenizerTrainee(Trainee):
    """A tokenizer with its losses."""

    def __init__(self, tokenizer: Tokenizer, perceptual: PerceptualNet) -> None:
        super().__init__()
        self.tokenizer = tokenizer.to(memory_format=torch.channels_last)
        self.perceptual = perceptual.requires_grad_(False)
        self.seen: tuple[Tensor, Tensor, Tensor] | None = None

    def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """batch: images uint8 [B, 1, 28, 28]."""
        images = batch[0].float() / 255
        z = self.tokenizer.encoder(images * 2 - 1)
        with torch.autocast("cpu", enabled=False):
            quantised = self.tokenizer.quantiser(z.float())
        self.seen = quantised.seen
        made = self.tokenizer.decoder(quantised.vectors).float() * 0.5 + 0.5
        l1 = F.l1_loss(made, images)
        perceptual = self.perceptual.distance(made, images)
        loss = l1 + perceptual + 0.25 * quantised.loss
        return {"loss": loss, "l1": l1, "perceptual": perceptual, "quantiser": quantised.loss}

    def after_step(self, generator: torch.Generator) -> None:
        assert self.seen is not None
        codebook = self.tokenizer.quantiser.codebook
        assert isinstance(codebook, Codebook)
        codebook.learn(*self.seen, generator)


@torch.inference_mode()
def tokenizer_figures(tokenizer: Tokenizer, context: Context) -> dict[str, float]:
    """rFID, share of codes in use, mean absolute error and PSNR (dB) on the held-out images.

    The rFID compares features of the network ``fmnist-cnn`` (``harness.extractors.fmnist_cnn``).
    """
    extractor, images = load_fmnist_cnn(), context.reference.images
    used = torch.zeros(tokenizer.vocabulary, dtype=torch.bool)
    made = []
    for part in images.split(500):
        tokens = tokenizer.encode(part.float() / 255)
        used[tokens.unique()] = True
        made.append(tokenizer.decode(tokens))
    decoded, original = torch.cat(made), images.float() / 255
    bytes_ = decoded.mul(255).round().to(torch.uint8)
    seen = [torch.cat([extractor.features(p)["features"] for p in x.split(500)]).numpy() for x in (bytes_, images)]
    return {
        "rfid": fid(*(Moments.of(features).gaussian() for features in seen)),
        "codebook_use": used.double().mean().item(),
        "l1": (decoded - original).abs().mean().item(),
        "psnr": -10 * (decoded - original).square().mean((1, 2, 3)).log10().mean().item(),
    }


def _prepare(name: str, context: Context) -> tuple[Trainee, Sequence[Tensor]]:
    perceptual = PerceptualNet()
    read_weights(PERCEPTUAL_WEIGHTS, perceptual)
    return TokenizerTrainee(new_tokenizer(name), perceptual), (context.training.images,)


def _exported(trainee: Trainee) -> nn.Module:
    assert isinstance(trainee, TokenizerTrainee)
    return trainee.tokenizer


def _figures(trainee: Trainee, context: Context) -> dict[str, float]:
    assert isinstance(trainee, TokenizerTrainee)
    return tokenizer_figures(trainee.tokenizer, context)


RECIPES = tuple(
    Recipe(
        name=name,
        weights=tokenizer_weights(name),
        plan=Plan(epochs=4, batch=100, lr=2e-3, ema=0.998, weight_decay=0.01),
        prepare=partial(_prepare, name),
        export=_exported,
        figures=_figures,
        needs=("fmnist-cnn", "perceptual-fmnist"),
    )
    for name in BUILDERS
)
