"""Finds methods by name through the entry-point group ``arbench.methods``, to which any package can add its methods."""

from functools import cache
from importlib.metadata import EntryPoint

from harness.method import Method
from harness.plugins.points import installed, load_named

GROUP = "arbench.methods"


def _points() -> dict[str, EntryPoint]:
    return installed(GROUP)


def names() -> list[str]:
    """Registered method names, sorted."""
    return sorted(_points())


def points() -> list[EntryPoint]:
    """The entry points of all methods, sorted by name. No method is imported."""
    return [_points()[name] for name in names()]


@cache
def get(name: str) -> type[Method]:
    """The method class of this name. ArbenchError if there is none, or if its package cannot be imported."""
    found: type[Method] = load_named("method", name, _points())
    return found
