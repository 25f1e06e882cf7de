"""What a method is given to make images from: a label and a row of noise for each image index."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from harness.method import Method
from harness.noise import uniforms

LABEL_STREAM = 1
"""The part of an image's Philox stream (harness.noise takes part 0) that its label is drawn from."""


def inputs(method: Method, seed: int, indices: Sequence[int], policy: str = "balanced") -> tuple[Tensor, Tensor]:
    """Labels, int64 [B], by a policy of ``Setup.labels``, and noise, float64 [B, positions], of these images, on the
    method's device. All stages of a trial take them from here: they see the same images."""
    parameter = next(method.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    drawn = labels(policy, seed, indices, method.preset.classes)
    return drawn.to(device), uniforms(seed, indices, method.positions).to(device)


def labels(policy: str, seed: int, indices: Sequence[int], classes: int) -> Tensor:
    """The labels of these images, int64 [n], by a policy of ``Setup.labels``."""
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
