"""The only source of randomness in sampling: uniforms keyed by (seed, image index, position).

Each image has a Philox stream of its own (key = (seed, image index)), and position p of the sequence takes the p-th
draw of that stream. Image i is therefore the same whatever the batch size, the shard, the number of workers or a
restart.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def uniforms(seed: int, indices: Iterable[int], positions: int) -> Tensor:
    """Uniforms in [0, 1), float64, shape [len(indices), positions]; one row an image index."""
    rows = [
        np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64))).random(positions)
        for index in indices
    ]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, positions, dtype=torch.float64)
