"""Safe file names, made from the names in records."""

import hashlib


def safe(name: str) -> str:
    """A file name for any string: ASCII letters, digits, dash and underscore, at most 49 characters.

    If characters had to be replaced or cut off, the file name ends with a hash of the string. Similar strings therefore
    get different file names.
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)[:40]
    return plain if plain == name and plain else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
