"""Numbers that people write: in sweep files, on the command line, in records."""

from math import isfinite
from typing import Any


def is_number(value: Any) -> bool:
    """Whether a value is a number that a float can hold: neither true nor false, nor nan, nor without bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # a whole number beyond 1.8e308
        return False


def as_number(value: int | float, whole: bool) -> int | float:
    """The number in the one spelling that names and keys are made of: 2 and 2.0 are one, and so are -0.0 and 0.0."""
    return int(value) if whole else float(value) + 0.0
