"""What a feature extractor is: a frozen network that turns images into features and class logits."""

from pathlib import Path

import torch
from torch import Tensor, nn

from harness.machine.arithmetic import arithmetic

FMNIST_CNN = "fmnist-cnn"
INCEPTION = "inception"


class Extractor:
    """A frozen network that turns images into features and class logits."""

    # The network's name in the keys of references. The name is no path to the class, and stays when the class moves.
    architecture = "harness.extractors.FmnistCNN"
    # How the network first resizes an image, in words.
    resize = "none"
    # Whether the network's logits have the same classes as the data's labels.
    classifies = True
    # Whether a GPU may round the factors of the network's products to TF32: "off" or "on", as in ``Setup.tf32``. It is
    # no setting of a trial, because features are compared with those of a reference, which trials share.
    tf32 = "off"

    def __init__(self, name: str, network: nn.Module, weights: Path) -> None:
        self.name, self.network, self.weights = name, network.eval(), weights

    def see(self, images: Tensor) -> dict[str, Tensor]:
        """``features``, in the arithmetic that ``tf32`` says."""
        with arithmetic(self.tf32):
            return self.features(images)

    @torch.inference_mode()
    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Features of images. Returns a dict of float32 tensors on the CPU:

        - ``features`` [B, D]
        - ``logits`` [B, classes]
        - ``spatial`` [B, S]: flattened features that keep their spatial positions

        images: uint8 [B, C, H, W], on any device
        """
        device = next(self.network.parameters()).device
        return {name: value.float().cpu() for name, value in self.network(images.to(device)).items()}
