"""Checks arrays of features before use, and goes through arrays in blocks of rows.

Features are float32 or float64 [N, D], one row per image. Every fault in an array of features raises an ArbenchError.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ArbenchError

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Tell = Callable[[float], None]
"""A function that a long computation calls again and again, with the share of the work that is done, from 0 to 1."""
_BLOCK = 2048  # rows taken at a time


def silent(share: float) -> None:
    """Does nothing. Long computations have an argument ``tell``, a function to which they report their progress. By
    default, ``tell`` is this function."""


def checked(features: object, what: str = "features") -> Floats:
    """``features`` as a float array [N, D] on the CPU.

    Raises ArbenchError, which names ``what``, in these cases:

    - the type is neither float32 nor float64 (such as half precision, or uint8 images given as features)
    - the shape is not [N, D], or there are no rows
    - some values are not finite
    """
    array = features.detach().cpu() if isinstance(features, Tensor) else features
    if isinstance(array, Tensor) and array.dtype not in (torch.float32, torch.float64):
        raise ArbenchError(f"{what}: type {array.dtype} (valid: float32, float64)")
    array = np.asarray(array)
    if array.dtype not in (np.float32, np.float64):
        raise ArbenchError(f"{what}: type {array.dtype} (valid: float32, float64)")
    if array.ndim != 2 or 0 in array.shape:
        raise ArbenchError(f"{what}: shape {array.shape} (valid: [images, dimensions], one of each at least)")
    bad = sum(int((~np.isfinite(array[rows])).any(axis=1).sum()) for rows in blocks(len(array), _BLOCK))
    if bad:
        raise ArbenchError(f"{what}: {bad} of {len(array)} rows hold values that are not finite")
    return array


def blocks(size: int, block: int) -> Iterator[slice]:
    """Cuts ``size`` rows into slices of ``block`` rows each. The last slice has the rows that are left."""
    return (slice(start, min(start + block, size)) for start in range(0, size, block))


def same_width(one: int, other: int, what: str) -> None:
    """Raises ArbenchError if the dimensions of samples and reference differ."""
    if one != other:
        raise ArbenchError(f"{what}: the samples have {one} dimensions, the reference {other}: not the same extractor?")
