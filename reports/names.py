"""File names for any name that a record has."""

import hashlib


def safe(name: str) -> str:
    """A file name for any string: ASCII letters, digits, dash and underscore, at most 49 characters.

    If a part of the string had to go, a hash distinguishes it from similar ones.
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)[:40]
    return plain if plain == name and plain else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
