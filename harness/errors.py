"""Errors meant for people: one clear line at the command line, no stack trace."""

import difflib
from collections.abc import Iterable
from typing import Any

LONGEST_SHOWN = 120
"""An error shows at most so many characters of a value."""


class ArbenchError(Exception):
    """An error that the user can put right. The command ``arbench`` prints the error's message, which is one line, and
    exits with code 2."""


def unknown(kind: str, given: str, valid: Iterable[str]) -> ArbenchError:
    """An error that names what was given, the nearest valid choice, and every valid choice."""
    choices = sorted(valid)
    near = difflib.get_close_matches(given[:LONGEST_SHOWN], choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ArbenchError(f"unknown {kind} {shown(given)}{hint} (valid: {', '.join(choices) or 'none'})")


def shown(value: Any) -> str:
    """The text that errors show for a value: its repr, cut if it is long. For some values Python refuses to make a
    repr, for example for an integer that has thousands of digits. The text then only names the value's type."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def one_line(text: str) -> str:
    """Turns a text into one line that is safe to print. Unprintable characters become escapes. Without the escapes, a
    terminal might take these characters as commands."""
    words = " ".join(text.split())
    return (
        words
        if words.isprintable()
        else "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in words)
    )
