"""Options and types of arguments that several commands share."""

import argparse
from collections.abc import Callable
from math import isfinite
from typing import Any

from harness.errors import shown

DIGITS = 9
"""The greatest number of digits that a whole number on the command line may have."""


def count(low: int) -> Any:
    """An argparse type: a whole number of at least ``low``."""

    def whole_number(text: str) -> int:
        if not text.isdecimal() or len(text) > DIGITS or int(text) < low:
            valid = f"a whole number of at least {low}" + (f", of up to {DIGITS} digits" if len(text) > DIGITS else "")
            raise argparse.ArgumentTypeError(f"{shown(text)} is not {valid}")
        return int(text)

    return whole_number


def above_zero(text: str) -> float:
    """An argparse type: a number above 0 that is not infinite."""
    return _number(text, "above 0", lambda found: found > 0)


def not_negative(text: str) -> float:
    """An argparse type: a number of at least 0 that is not infinite."""
    return _number(text, "of at least 0", lambda found: found >= 0)


def _number(text: str, valid: str, right: Callable[[float], bool]) -> float:
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not isfinite(found) or not right(found):
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a number {valid}")
    return found


def add_only(add: argparse.ArgumentParser) -> None:
    """Add the option ``--only``, which selects trials by name or method."""
    add.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only trials whose name or method matches, as in ear or '*steps=7,*'; as often as need be",
    )


def add_checkpoint(add: argparse.ArgumentParser) -> None:
    """Add the option ``--checkpoint``, which names files of weights that replace the weights of methods."""
    add.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="METHOD=FILE",
        help="weights of your own in place of the method's (METHOD/PRESET=FILE: of one preset); rows are marked",
    )
