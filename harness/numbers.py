"""Numbers that people write: in sweep files, on the command line, in records."""

from math import isfinite
from typing import Any

from harness.errors import ArbenchError, shown


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold. Booleans do not count as numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # a whole number beyond 1.8e308
        return False


def as_number(value: int | float, whole: bool) -> int | float:
    """The number in the form that names and keys use: an int if ``whole``, else a float. 2 and 2.0 give the same
    result, and so do -0.0 and 0.0."""
    return int(value) if whole else float(value) + 0.0


def checked_int(what: str, value: Any, low: int, high: int) -> int:
    """``value`` if it is a whole number from ``low`` to ``high``; ArbenchError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ArbenchError(f"{what} = {shown(value)} is out of range (valid: a whole number from {low} to {high})")
    return value
