"""What all trained generators have in common: data as tokens, class dropout, and one training plan."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.tokenizers.recipes import load_tokenizer, tokenizer_weights
from harness import files
from harness.hashing import sha256
from harness.images.pictures import read_image
from harness.training.folders import FolderContext
from harness.training.loop import Plan, Trainee, row_uniforms
from harness.training.recipe import Context

CLASS_DROPOUT = 0.1
EQUAL_PLAN = Plan(epochs=4, batch=125, lr=2.5e-3, warmup=200, ema=0.998, weight_decay=0.03)
"""Every generator is trained by this plan: images seen, batches and optimiser are the same."""
BATCH = 64
"""How many images are turned into tokens at a time."""
IMAGE_OF = {"vq-fmnist": (1, 28), "msvq-fmnist": (1, 28)}
"""(channels, side) of the images that a tokenizer takes. Published tokenizers take colour images; the side of
an image has 16 pixels for each token on the side of the grid."""


def drop_class(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Replace a tenth of the labels by ``classes``, the label that means "no class".

    Guidance samples with this label, so the network must see the label in training.
    """
    dropped = row_uniforms(len(labels), generator) < CLASS_DROPOUT
    return labels.masked_fill(dropped.to(labels.device), classes)


class GeneratorTrainee(Trainee):
    """Trains a network over one grid of tokens. The network has a method ``loss(tokens, labels, generator)``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """batch: tokens [B, positions], labels [B]."""
        found: dict[str, Tensor] = self.network.loss(*batch, generator)  # type: ignore[operator]
        return found


class ScaleTrainee(Trainee):
    """Trains a network over a multi-scale tokenizer's scales; the loss is the mean cross-entropy per token, in nats."""

    def __init__(self, network: nn.Module, tokenizer: nn.Module) -> None:
        super().__init__()
        self.network, self.tokenizer = network, tokenizer.requires_grad_(False)

    def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """batch: tokens [B, positions], labels [B]."""
        tokens, labels = batch
        with torch.no_grad():
            seen = self.tokenizer.quantiser.inputs(tokens)  # type: ignore[union-attr, operator]
        classes: int = self.network.classes  # type: ignore[assignment]
        logits = self.network.logits(seen, drop_class(labels, classes, generator))  # type: ignore[operator]
        return {"loss": F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten())}


@torch.inference_mode()
def training_tokens(tokenizer: str, context: Context) -> tuple[Tensor, Tensor]:
    """The training images as tokens [N, positions], and their labels.

    The tokens are stored in a file in the folder ``context.runs``. The file name contains the hashes of the tokenizer's
    weights and of the images.
    """
    if isinstance(context, FolderContext):
        return folder_tokens(tokenizer, context)
    training = context.training
    key = sha256(tokenizer_weights(tokenizer))[:12] + training.sha256[:12]
    path = Path(context.runs) / f"tokens-{tokenizer}-{key}.pt"
    if not path.exists():
        module = load_tokenizer(tokenizer)
        tokens = torch.cat([module.encode(part.float() / 255) for part in training.images.split(500)])
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(tokens.short(), partial)
        partial.replace(path)
    return torch.load(path, weights_only=True).long(), training.labels


@torch.inference_mode()
def folder_tokens(tokenizer: str, context: FolderContext) -> tuple[Tensor, Tensor]:
    """The images of a folder as tokens [N, positions], int16, and their labels.

    Images are encoded chunk by chunk. If there are several processes, each process encodes only a part of the chunks.
    After a killed run, the next run encodes only the chunks that are missing. Every image is cropped in the middle;
    none is mirrored.
    """
    key = sha256(tokenizer_weights(tokenizer))[:12] + context.data_sha256[:12]
    folder = Path(context.runs) / f"tokens-{tokenizer}-{key}"
    module = load_tokenizer(tokenizer).to(context.device)
    channels, side = IMAGE_OF.get(tokenizer, (3, 16 * module.quantiser.grid))
    for number, paths in context.chunks():
        if not (folder / f"{number:06d}.npz").exists():
            parts = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
            images = (torch.stack([read_image(path, side, channels) for path in part]) for part in parts)
            tokens = torch.cat([module.encode(part.to(context.device).float() / 255).cpu() for part in images])
            files.write_arrays(folder / f"{number:06d}.npz", {"tokens": tokens.short().numpy()})
    if context.processes:
        context.processes.wait()
    chunks = [files.read_arrays(path)["tokens"] for path in sorted(folder.glob("[0-9]*.npz"))]
    return torch.from_numpy(np.concatenate(chunks)), context.labels()
