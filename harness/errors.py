"""Errors meant for people: one clear line at the command line, no stack trace."""

import difflib
from collections.abc import Iterable
from typing import Any

LONGEST_SHOWN = 120
"""Characters of a value that an error shows."""


class ArbenchError(Exception):
    """Something the user can mend. The command prints its one line and exits with code 2."""


def unknown(kind: str, given: str, valid: Iterable[str]) -> ArbenchError:
    """An error that names what was given, the nearest valid choice, and every valid choice."""
    choices = sorted(valid)
    near = difflib.get_close_matches(given[:LONGEST_SHOWN], choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ArbenchError(f"unknown {kind} {shown(given)}{hint} (valid: {', '.join(choices) or 'none'})")


def shown(value: Any) -> str:
    """A value as an error shows it: as Python spells it, cut where it is long. Python does not spell integers of
    thousands of digits at all."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def one_line(text: str) -> str:
    """A text as one line that a terminal takes for nothing but text: what is not printable is written as an escape."""
    words = " ".join(text.split())
    return (
        words
        if words.isprintable()
        else "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in words)
    )
