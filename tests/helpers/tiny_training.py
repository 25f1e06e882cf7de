"""Training in small: every method gets a preset ``tiny``, to train on 48 pictures in class folders."""

import multiprocessing
import os
import signal
import socket
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
import torch._dynamo  # an optimizer imports both, for seconds: here it is the server that does, once for all its forks
import torch.distributed.fsdp
from PIL import Image

from baselines.raster import Raster
from baselines.var import VAR
from harness import cli
from harness.images.datasets import reference_images
from harness.training import loop
from harness.training.processes import Processes
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
    patch.setattr(loop, "LOG_EVERY_STEPS", 1)


def command(folder: Path, name: str, *more: str, method: str = "var") -> list[str]:
    """``arbench train``, of a method's preset ``tiny``, on the pictures in ``folder / "data"``."""
    plan = ["--epochs", str(EPOCHS), "--batch", str(BATCH), "--warmup", "2", "--save-minutes", "0"]
    places = ["--data", str(folder / "data"), "--runs", str(folder / name), "--out", str(weights(folder, name))]
    return ["train", method, "--preset", "tiny", *plan, *places, *more]


def weights(folder: Path, name: str) -> Path:
    """What that writes."""
    return folder / f"{name}.safetensors"


def together(processes: int, asked: list[str], dies_at: int | None = None) -> list[int | None]:
    """Exit codes of so many processes that know each other as torchrun's and accelerate's do, each killed before a
    step's gradients if ``dies_at`` says so. They are forks of a server that has loaded torch but never run it: a fork
    of this process might wait for ever for threads that it does not have."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    about = {"WORLD_SIZE": processes, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    about["ARBENCH_WEIGHTS"] = os.environ["ARBENCH_WEIGHTS"]
    children = [context.Process(target=one_of, args=(rank, about, asked, dies_at)) for rank in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return [child.exitcode for child in children]


def one_of(rank: int, about: dict[str, object], asked: list[str], dies_at: int | None) -> None:
    """What each process of ``together`` does."""
    os.environ.update({name: str(value) for name, value in {**about, "RANK": rank, "LOCAL_RANK": rank}.items()})
    torch.set_num_threads(1)
    offer_tiny_presets(pytest.MonkeyPatch())
    calls, real = count(1), Processes.backward

    def dying(self: Processes, *rest: object) -> object:
        if next(calls) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *rest)  # type: ignore[arg-type]

    Processes.backward = dying  # type: ignore[method-assign, assignment]
    sys.exit(cli.main(asked))
