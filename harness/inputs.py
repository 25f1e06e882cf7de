"""The inputs of a method: a label and a row of noise for each image index."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from harness.method import Method
from harness.noise import uniforms

LABEL_STREAM = 1
"""Each image has a Philox stream of random numbers, divided into parts. The image's label is drawn from part
LABEL_STREAM, and the image's noise from part 0 (harness.noise)."""


def inputs(method: Method, seed: int, indices: Sequence[int], policy: str = "balanced") -> tuple[Tensor, Tensor]:
    """The labels (int64 [B]) and the noise (float64 [B, positions]) of the images with these indices.

    Both are on the method's device. All stages of a trial call this function, so that all stages see the same images.

    policy: how labels are chosen, a value of ``Setup.labels``. With ``balanced``, image i has label i mod classes. With
    ``random``, the label of each image is drawn from (seed, i).
    """
    parameter = next(method.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    drawn = labels(policy, seed, indices, method.preset.classes)
    return drawn.to(device), uniforms(seed, indices, method.positions).to(device)


def labels(policy: str, seed: int, indices: Sequence[int], classes: int) -> Tensor:
    """The labels of the images with these indices, int64 [n].

    policy: how labels are chosen, as in ``inputs``.
    """
    if policy == "balanced":
        return torch.tensor([index % classes for index in indices], dtype=torch.int64)
    counter = np.array([0, 0, 0, LABEL_STREAM], dtype=np.uint64)
    drawn = [
        np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64), counter=counter)).integers(
            classes
        )
        for index in indices
    ]
    return torch.tensor(np.array(drawn, dtype=np.int64))
