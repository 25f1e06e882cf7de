"""Training in small: every method gets a preset ``tiny``, to train on 48 pictures in class folders."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from baselines.raster import Raster
from baselines.var import VAR
from harness import training
from harness.data import reference_images
from methods.actvar import ActVAR
from methods.ear import EAR

IMAGES, BATCH, EPOCHS = 48, 8, 2
STEPS = EPOCHS * IMAGES // BATCH
TINY = {"dim": 48, "layers": 2, "heads": 2}


def make_pictures(folder: Path) -> None:
    """Write the pictures, in a folder a class."""
    images, classes, _ = reference_images("fmnist")
    for index in range(IMAGES):
        place = folder / f"class-{int(classes[index])}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index, 0].numpy()).save(place / f"{index:03d}.png")


def offer_tiny_presets(patch: pytest.MonkeyPatch) -> None:
    """Every step is logged, too."""
    for method in (VAR, EAR, Raster, ActVAR):
        usual = method.presets["fmnist"]
        tiny = replace(usual, name="tiny", data="pictures", network={**usual.network, **TINY})
        patch.setattr(method, "presets", {**method.presets, "tiny": tiny})
    patch.setattr(training, "LOG_EVERY_STEPS", 1)


def command(folder: Path, name: str, *more: str, method: str = "var") -> list[str]:
    """``arbench train``, of a method's preset ``tiny``, on the pictures in ``folder / "data"``."""
    plan = ["--epochs", str(EPOCHS), "--batch", str(BATCH), "--warmup", "2", "--save-minutes", "0"]
    places = ["--data", str(folder / "data"), "--runs", str(folder / name), "--out", str(weights(folder, name))]
    return ["train", method, "--preset", "tiny", *plan, *places, *more]


def weights(folder: Path, name: str) -> Path:
    """What that writes."""
    return folder / f"{name}.safetensors"
