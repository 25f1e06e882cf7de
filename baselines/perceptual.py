"""The network of the tokenizers' perceptual loss. The loss compares the network's features of two images.

The network is a choice of ours. It has three convolutions, of which the last two are strided. It is trained on
Fashion-MNIST's training images to recognise the class of an image and the multiple of 90 degrees by which the image
was turned. The quality metric uses another network, with another layout, task and weights.

The loss is LPIPS-like (Zhang et al., arXiv 1801.03924) without learned weights: squared differences of
channel-normalised features, averaged over spatial positions and summed over layers.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.training.loop import Plan, Trainee
from harness.training.recipe import Context, Recipe

WEIGHTS = Path(__file__).parent / "weights" / "perceptual-fmnist.safetensors"


class PerceptualNet(Trainee):
    """images float [B, 1, 28, 28] in [0, 1] -> features of three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [nn.Conv2d(1, 24, 5, padding=2), nn.Conv2d(24, 48, 4, 2, 1), nn.Conv2d(48, 96, 4, 2, 1)]
        )
        self.norms = nn.ModuleList(nn.GroupNorm(4, width) for width in (24, 48, 96))
        self.classify = nn.Linear(96, 10)
        self.turn = nn.Linear(96, 4)

    def layers(self, images: Tensor) -> list[Tensor]:
        """The features: [B, 24, 28, 28], [B, 48, 14, 14], [B, 96, 7, 7]."""
        x, found = images * 2 - 1, []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.silu(norm(conv(x)))
            found.append(x)
        return found

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """The perceptual distance between the images of ``one`` and those of ``other``, averaged over the pairs: a
        scalar."""
        pairs = zip(self.layers(one), self.layers(other), strict=True)
        return torch.stack([(_unit(a) - _unit(b)).square().sum(1).mean() for a, b in pairs]).sum()

    def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The loss and the accuracies on one batch. batch: images uint8 [B, 1, 28, 28], labels [B]."""
        images, labels = batch
        turns = torch.randint(4, (len(images),), generator=generator)
        turned = torch.stack([torch.rot90(image, int(k), (1, 2)) for image, k in zip(images, turns, strict=True)])
        pooled = self.layers(turned.float() / 255)[-1].mean((2, 3))
        class_logits, turn_logits = self.classify(pooled).float(), self.turn(pooled).float()
        return {
            "loss": F.cross_entropy(class_logits, labels) + F.cross_entropy(turn_logits, turns),
            "class_accuracy": (class_logits.argmax(-1) == labels).float().mean(),
            "turn_accuracy": (turn_logits.argmax(-1) == turns).float().mean(),
        }


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=1, eps=1e-6)


def _prepare(context: Context) -> tuple[Trainee, Sequence[Tensor]]:
    training = context.training
    return PerceptualNet(), (training.images, training.labels)


@torch.inference_mode()
def _figures(trainee: Trainee, context: Context) -> dict[str, float]:
    held_out = context.reference
    figures = trainee.loss((held_out.images, held_out.labels), torch.Generator().manual_seed(0))
    return {name: value.item() for name, value in figures.items()}


RECIPE = Recipe(
    name="perceptual-fmnist",
    weights=WEIGHTS,
    plan=Plan(epochs=3, batch=125, lr=2e-3, ema=0.998),
    prepare=_prepare,
    export=lambda trainee: trainee,
    figures=_figures,
)
