"""The setup under which a method makes images: precision and TF32, how labels are chosen, how values become uint8,
which weights are used, and how many images are computed at once. The method's knobs and its sampling settings are not
part of the setup."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import ArbenchError, unknown
from harness.numbers import checked_int

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "precision": tuple(PRECISIONS),
    "labels": ("balanced", "random"),
    "uint8": ("round", "truncate"),
    "weights": ("trained", "random"),
    "tf32": ("off", "on"),
}
"""The fields of a setup that are a choice, with their values."""
LARGEST_COMPUTE_BATCH = 4096
SMALL_IMAGES_COMPUTE_BATCH = 125
"""``Setup.compute_batch`` of our presets for images of 28x28. It divides the usual size of a shard and the number of
images in most bundled sweeps, so that nothing is computed beyond them."""
# Measured when compute batches came: CPU time on one core of a shared Xeon in ms an image, extractor included, least of
# 5 passes over 500 images. The work is that of `arbench run default --images 500 --workers 0 --no-timing
# --compute-batch N`; by the clock, a record of it has the time under generate.seconds. At 50, 64, 125 and 250 images:
# raster 7.8, 7.5, 6.7, 7.0; ear (13 steps) 4.0, 3.8, 3.9, 4.2; var 5.5, 5.6, 5.9, 6.2; actvar (ffn_sparsity 0.645) 6.0,
# 6.1, 6.5, 7.1. So 125 takes less time than the 250 of earlier versions in all four.
OWN = re.compile(r"own-[0-9a-f]{8}")
"""The value of ``weights`` for a user's checkpoint: ``own-`` and the first eight hex digits of the file's sha256."""


@dataclass(frozen=True)
class Setup:
    """The setup under which a method makes images."""

    # Precision of the weights and arithmetic of all networks, including the tokenizer's decoder. It does not apply to
    # codes, canvases and draws. It does not apply to logits either, from guidance on.
    precision: str = "fp32"
    # "balanced": image i has label i mod classes (50 images per class with 50,000 images of ImageNet).
    # "random": the label of each image is drawn from (seed, i).
    labels: str = "balanced"
    # How a value x in [0, 1] becomes a byte: 255 x is rounded ("round") or truncated ("truncate").
    uint8: str = "round"
    # "trained": the method's weights. "random": random weights, with which cost and time are measured, but no quality.
    # "own-" and eight hex digits: the checkpoint that --checkpoint names; the digits are from that file's sha256.
    weights: str = "trained"
    # Whether a GPU may round the factors of float32 products to TF32, in matrix products and convolutions: "off" or
    # "on". On a CPU this changes nothing. Extractors do not follow it (``Extractor.tf32``).
    tf32: str = "off"
    # Number of images that are computed at once, from 1 to LARGEST_COMPUTE_BATCH: image i is always computed together
    # with the other images of its compute batch (``compute_batches``). It does not apply to timing.
    compute_batch: int = 64

    def __post_init__(self) -> None:
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid and not (name == "weights" and self.own):
                raise unknown(name, str(getattr(self, name)), valid)
        checked_int("compute_batch", self.compute_batch, 1, LARGEST_COMPUTE_BATCH)

    @property
    def own(self) -> bool:
        """Whether a user's checkpoint replaces the method's weights."""
        return OWN.fullmatch(str(self.weights)) is not None

    def but(self, given: Mapping[str, Any]) -> "Setup":
        """A copy of this setup, in which some fields have new values. Raises ArbenchError for an unknown field or
        value.

        given: the names of these fields, with their new values.
        """
        for name in given:
            if name not in SETUP_FIELDS:
                raise unknown("setup", name, SETUP_FIELDS)
        return replace(self, **given)


def own_weights(sha256: str) -> str:
    """The value of ``Setup.weights`` for a user's own checkpoint. sha256: the hash of the file, in hex digits."""
    return f"own-{sha256[:8]}"


SETUP_FIELDS = tuple(field.name for field in fields(Setup))


def compute_batches(indices: range, size: int) -> list[range]:
    """The compute batches that hold these images, in order.

    Compute batch k consists of the images k * size to (k + 1) * size - 1, whatever the number of images in the trial:
    the images that follow the last one fill its batch.

    indices: of images, without gaps
    size: ``Setup.compute_batch``
    """
    first = indices.start // size * size
    return [range(start, start + size) for start in range(first, indices.stop, size)]


def to_uint8(images: Tensor, rule: str = "round") -> Tensor:
    """Images in [0, 1] as uint8, clamped to 0 .. 255. Raises ArbenchError for values that are not finite.

    rule: a value of ``Setup.uint8``.
    """
    if not torch.isfinite(images).all():
        raise ArbenchError("the images hold values that are not finite")
    scaled = images * 255
    return (scaled.round() if rule == "round" else scaled).clamp(0, 255).to(torch.uint8)


def in_precision(method: nn.Module, precision: str) -> None:
    """Convert a method's weights to a precision. Of the tokenizer, only the part called ``decoder`` is converted.
    Buffers, which are tensors but not weights, stay as they are. Examples are the table of rotary embeddings, position
    indices, and the constants by which some methods choose the tokens to be computed.

    precision: a value of ``Setup.precision``.
    """
    for name, own in method.named_parameters():
        if not name.startswith("tokenizer.") or name.startswith("tokenizer.decoder."):
            own.data = own.data.to(PRECISIONS[precision])
