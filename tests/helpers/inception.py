"""torch-fidelity's Inception network with random weights, for tests: the real ones are not shipped."""

from pathlib import Path
from typing import Any

import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


class Blank(FeatureExtractorInceptionV3):  # type: ignore[misc]
    """torch-fidelity's network with the random weights that it starts with."""

    def load_state_dict(self, *_: Any, **__: Any) -> None:
        pass


def blank(folder: Path) -> Blank:
    """A network with the weights of seed 0; ``folder`` takes the empty file that its constructor insists on."""
    torch.save({}, folder / "nothing.pth")
    torch.manual_seed(0)
    return Blank("blank", ["2048"], feature_extractor_weights_path=folder / "nothing.pth")


def random_weights(folder: Path) -> Path:
    """A file of random weights under which images differ: as they start, layers shrink all differences to nothing."""
    network = blank(folder)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
            parameter.data *= 10 if parameter.ndim == 2 else 1  # and classes should differ
    path = folder / "random.pth"
    torch.save(network.state_dict(), path)
    return path
