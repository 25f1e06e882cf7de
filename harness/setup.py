"""The setup under which a method makes images: the precision, how labels are chosen, how values become uint8, and which
weights are used. The method's knobs and its sampling settings are not part of the setup."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import ArbenchError, unknown

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "precision": tuple(PRECISIONS),
    "labels": ("balanced", "random"),
    "uint8": ("round", "truncate"),
    "weights": ("trained", "random"),
}
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

    def __post_init__(self) -> None:
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid and not (name == "weights" and self.own):
                raise unknown(name, str(getattr(self, name)), valid)

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
            if name not in CHOICES:
                raise unknown("setup", name, CHOICES)
        return replace(self, **given)


def own_weights(sha256: str) -> str:
    """The value of ``Setup.weights`` for a user's own checkpoint. sha256: the hash of the file, in hex digits."""
    return f"own-{sha256[:8]}"


SETUP_FIELDS = tuple(field.name for field in fields(Setup))


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
