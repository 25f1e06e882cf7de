"""``nox -s large``, second part: 50,000 images of 256x256 in an .npz through ``arbench score``, with figures against as
many reference images. In Inception's place stands a network of its outputs that costs nothing, since memory is what is
asked; Inception's own share is measured beside it, on one batch. Needs 10 GB where TMPDIR says, for a while. Exit code
1 if the peak is above 4 GB.
"""

import argparse
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from harness.extractors.base import INCEPTION
from harness.extractors.inception import FEATURES, SPATIAL, InceptionExtractor, load_inception
from harness.hashing import sha256
from harness.machine.memory import peak_memory
from harness.progress import narrated
from harness.stages.quality.distributions import Moments
from harness.stages.quality.pairs import Within
from harness.stages.quality.reference import Reference
from harness.stages.quality.score import score
from harness.stages.quality.seen import watched
from tests.helpers.inception import random_weights
from tests.programs.large import MEGABYTES, features

LOGITS = 1008
SIDE, BATCH = 256, 50
"""Pixels; images at a time, as `arbench score` takes them by itself."""


class Light(nn.Module):
    """Inception's outputs from the mean colours of 64 squares, by random maps."""

    def __init__(self) -> None:
        super().__init__()
        widths = {"features": FEATURES, "logits": LOGITS, "spatial": SPATIAL}
        self.maps = nn.ModuleDict({name: nn.Linear(3 * 64, width) for name, width in widths.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        seen = nn.functional.adaptive_avg_pool2d(images.float() / 16, 8).flatten(1)
        return {name: one(seen).relu() for name, one in self.maps.items()}


def write_samples(path: Path, count: int) -> None:
    """Random blocks of colour, uint8 [count, 256, 256, 3], written a few at a time."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive, archive.open("arr_0.npy", "w", force_zip64=True) as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, SIDE, SIDE, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, BATCH):
            blocks = rng.integers(0, 256, (min(BATCH, count - start), 8, 8, 3), np.uint8)
            file.write(blocks.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2).tobytes())


def made_up(count: int) -> Reference:
    """A reference of as many images, as `arbench reference build` keeps it."""
    drawn = features(0, count, FEATURES)
    spatial = Moments.of(features(0, SPATIAL + 1, SPATIAL)).gaussian()
    within = Within.of(drawn, "reference", narrated()("reference among itself"))
    about = {"path": "made up", "images": count}
    return Reference(about, Moments.of(drawn).gaussian(), spatial, within, None)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.programs.large_score")
    parser.add_argument("--images", type=int, default=50_000, metavar="N", help="(default: %(default)s)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "samples.npz"
        write_samples(path, asked.images)
        weights = random_weights(Path(folder))
        with peak_memory(torch.device("cpu")) as one_batch:
            real = load_inception(weights, sha256(weights))
            real.features(torch.zeros(BATCH, 3, SIDE, SIDE, dtype=torch.uint8))
        del real
        with peak_memory(torch.device("cpu")) as memory:
            against = made_up(asked.images)
            began = time.perf_counter()
            light = InceptionExtractor(INCEPTION, Light().eval(), weights)
            found = score(watched(path, light, BATCH), against, narrated())
    print(f"{asked.images:,} images in {time.perf_counter() - began:.0f} s: FID {found['fid'][INCEPTION]:.1f}")
    kept = 4e-6 * asked.images * (FEATURES + SPATIAL + LOGITS)
    reading, peak = one_batch["peak_memory_mb"] + kept, memory["peak_memory_mb"]
    print(f"peak memory: {reading:.0f} MB while Inception reads, {peak:.0f} MB after (bound: {MEGABYTES:g})")
    return int(max(reading, peak) > MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
