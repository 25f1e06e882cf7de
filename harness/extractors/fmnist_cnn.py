"""The extractor ``fmnist-cnn``: a small classifier trained on Fashion-MNIST's training images. Its weights are bundled.

FID on the network's features is called "FID (fmnist-cnn)". The network is our choice: no published source names an
extractor for images of 28x28. Importing harness.extractors.for_torch_fidelity registers the extractor with
torch-fidelity.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from harness.checkpoints.tensors import read_weights
from harness.extractors.base import FMNIST_CNN, Extractor
from harness.training.loop import Plan, Trainee
from harness.training.recipe import Context, Recipe

SPATIAL_CHANNELS = 14
"""Number of channels that sFID uses. They are the first channels, as in Nash et al. (2103.03841). With this number,
the 3x3 positions before the last layer give about as many dimensions (126) as there are features."""
FMNIST_CNN_WEIGHTS = Path(__file__).parent / "weights" / "fmnist-cnn.safetensors"


class FmnistCNN(Trainee):
    """A network of four 3x3 convolutions and two linear layers. Gives features [B, 128], logits [B, 10] and spatial
    features [B, 126]: the first SPATIAL_CHANNELS channels at each of 3x3 positions."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, 64, 128)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in zip(widths, widths[1:], strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in widths[1:])
        self.embed = nn.Linear(128 * 9, 128)
        self.classify = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images: uint8 [B, 1, 28, 28]."""
        x = images.float() / 127.5 - 1
        for place, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = F.relu(norm(conv(x)))
            if place in (0, 2):
                x = F.max_pool2d(x, 2)
        places = F.adaptive_avg_pool2d(x, 3)
        features = F.relu(self.embed(places.flatten(1)))
        logits = self.classify(F.dropout(features, 0.3, self.training))
        return {"features": features, "logits": logits, "spatial": places[:, :SPATIAL_CHANNELS].flatten(1)}

    def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The loss and the accuracy on a batch. Each image is first mirrored with probability 1/2.

        batch: images uint8 [B, 1, 28, 28], labels [B]
        """
        images, labels = batch
        mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
        logits = self(torch.where(mirrored, images.flip(-1), images))["logits"].float()
        accuracy = (logits.argmax(-1) == labels).float().mean()
        return {"loss": F.cross_entropy(logits, labels, label_smoothing=0.05), "accuracy": accuracy}


def load_fmnist_cnn(weights: Path | None = None) -> Extractor:
    """The bundled classifier, or the same network with other weights."""
    path = weights or FMNIST_CNN_WEIGHTS
    network = read_weights(path, FmnistCNN()).to(memory_format=torch.channels_last)  # takes 2/3 of the time on a CPU
    return Extractor(FMNIST_CNN, network, path)


def _prepare(context: Context) -> tuple[Trainee, Sequence[Tensor]]:
    training = context.training
    return FmnistCNN(), (training.images, training.labels)


def _figures(trainee: Trainee, context: Context) -> dict[str, float]:
    extractor, held_out = Extractor(FMNIST_CNN, trainee, FMNIST_CNN_WEIGHTS), context.reference
    found = torch.cat([extractor.see(part)["logits"].argmax(-1) for part in held_out.images.split(500)])
    return {"test_accuracy": (found == held_out.labels).double().mean().item()}


RECIPES = (
    Recipe(
        name=FMNIST_CNN,
        weights=FMNIST_CNN_WEIGHTS,
        plan=Plan(epochs=8, batch=125, lr=2e-3, ema=0.998),
        prepare=_prepare,
        export=lambda trainee: trainee,
        figures=_figures,
    ),
)
