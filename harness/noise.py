"""The only source of randomness in sampling: uniform random numbers, determined by (seed, image index, position).

Each image has its own Philox stream (key = (seed, image index)). Position p of the sequence takes the p-th draw of the
image's stream. Batch size, shard, number of workers and restarts therefore do not change image i.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def uniforms(seed: int, indices: Iterable[int], positions: int) -> Tensor:
    """Uniform random numbers in [0, 1), float64, shape [len(indices), positions]; one row per image index."""
    asked = list(indices)
    rows = np.empty((len(asked), positions))
    # One generator is set to each key in turn: a new one would first ask the system for entropy that it does not need.
    generator = np.random.Generator(np.random.Philox(key=[0, 0]))
    start = generator.bit_generator.state
    for row, index in zip(rows, asked, strict=True):
        start["state"]["key"][:] = seed, index
        generator.bit_generator.state = start
        generator.random(out=row)
    return torch.from_numpy(rows)
