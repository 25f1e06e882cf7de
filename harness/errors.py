"""Errors meant for people: one clear line at the command line, no stack trace."""

import difflib
from collections.abc import Iterable


class ArbenchError(Exception):
    """Something the user can mend. The command prints its one line and exits with code 2."""


def unknown(kind: str, given: str, valid: Iterable[str]) -> ArbenchError:
    """An error that names what was given, the nearest valid choice, and every valid choice."""
    choices = sorted(valid)
    near = difflib.get_close_matches(given, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ArbenchError(f"unknown {kind} {given!r}{hint} (valid: {', '.join(choices) or 'none'})")
