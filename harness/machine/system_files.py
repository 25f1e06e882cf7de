"""Reads the small text files in which Linux reports its state, such as those under /proc and /sys."""

from pathlib import Path

SYSTEM = Path("/")
"""The folder that holds /proc and /sys. Tests use another folder."""


def text(path: Path) -> str | None:
    """The content of a file, without the spaces around it; None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
