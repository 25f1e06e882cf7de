"""Under what setup a method makes images, beside its own knobs and sampling: precision, labels, uint8 rule, weights."""

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
"""``weights`` of a trial on a checkpoint of the user's own: how the file's sha256 begins."""


@dataclass(frozen=True)
class Setup:
    """precision: of the weights and arithmetic of all networks, the tokenizer's decoder among them; codes and canvases,
    logits from guidance on, and draws do not change with it. labels: ``balanced``, image i has label i mod classes (50
    a class with 50,000 images of ImageNet), or ``random``, drawn for each image from (seed, i). uint8: how an image in
    [0, 1] becomes bytes, ``round`` of 255 x or ``truncate``. weights: ``trained``, ``random``
    (then cost and time are measured, and no quality), or ``own-`` and eight hex digits of the sha256 of a checkpoint
    that ``--checkpoint`` names.
    """

    precision: str = "fp32"
    labels: str = "balanced"
    uint8: str = "round"
    weights: str = "trained"

    def __post_init__(self) -> None:
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid and not (name == "weights" and self.own):
                raise unknown(name, str(getattr(self, name)), valid)

    @property
    def own(self) -> bool:
        """Whether a checkpoint of the user's own takes the place of the method's weights."""
        return OWN.fullmatch(str(self.weights)) is not None

    def but(self, given: Mapping[str, Any]) -> "Setup":
        """The same with other values. ArbenchError for an unknown field or value."""
        for name in given:
            if name not in CHOICES:
                raise unknown("setup", name, CHOICES)
        return replace(self, **given)


def own_weights(sha256: str) -> str:
    """``Setup.weights`` for a checkpoint of the user's own with this sha256."""
    return f"own-{sha256[:8]}"


SETUP_FIELDS = tuple(field.name for field in fields(Setup))


def to_uint8(images: Tensor, rule: str = "round") -> Tensor:
    """Images in [0, 1] -> uint8 by a rule of ``Setup.uint8``, clamped. Raises ArbenchError for values that are not
    finite."""
    if not torch.isfinite(images).all():
        raise ArbenchError("the images hold values that are not finite")
    scaled = images * 255
    return (scaled.round() if rule == "round" else scaled).clamp(0, 255).to(torch.uint8)


def in_precision(method: nn.Module, precision: str) -> None:
    """Put a method's weights into a precision of ``Setup.precision``: all but those of its tokenizer, of which the part
    called ``decoder``. What is no weight (rotations, fixed scores, positions) stays as it is."""
    for name, own in method.named_parameters():
        if not name.startswith("tokenizer.") or name.startswith("tokenizer.decoder."):
            own.data = own.data.to(PRECISIONS[precision])
