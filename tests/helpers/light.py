"""``arbench score`` with a network of few outputs in Inception's place: a distance on 2048 dimensions takes seconds."""

from pathlib import Path

import pytest
import torch
from torch import nn

from harness.extractors import inception
from harness.extractors.base import INCEPTION
from harness.extractors.inception import InceptionExtractor
from harness.stages.quality import reference_files

FEATURES, SPATIAL = 6, 5
"""Dimensions, in place of Inception's."""


class Light(nn.Module):
    """Outputs as Inception has them, from the mean colours of 16 squares, by random maps."""

    def __init__(self) -> None:
        super().__init__()
        widths = {"features": FEATURES, "logits": 10, "spatial": SPATIAL}
        self.maps = nn.ModuleDict({name: nn.Linear(3 * 16, width) for name, width in widths.items()})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        seen = nn.functional.adaptive_avg_pool2d(images.float() / 16, 4).flatten(1)
        return {name: one(seen) for name, one in self.maps.items()}


class Counting(InceptionExtractor):
    """Counts the images that it is shown."""

    shown = 0

    def features(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.shown += len(images)
        return super().features(images)


def in_place(patch: pytest.MonkeyPatch, folder: Path) -> Counting:
    """Have the commands load such a network; what they keep goes to a folder of the test's."""
    (folder / "weights.pth").write_bytes(b"weights")
    torch.manual_seed(0)
    found = Counting(INCEPTION, Light().eval(), folder / "weights.pth")
    patch.setattr(inception, "load_inception", lambda *_: found)
    patch.setattr(reference_files, "FEATURES", FEATURES)
    patch.setattr(reference_files, "SPATIAL", SPATIAL)
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return found
