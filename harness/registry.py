"""Finds methods by name through the entry-point group ``arbench.methods``, to which any package can add its methods."""

import importlib.util
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from harness.errors import ArbenchError, unknown
from harness.method import Method

GROUP = "arbench.methods"


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> list[str]:
    """Registered method names, sorted."""
    return sorted(_points())


def points() -> list[EntryPoint]:
    """The entry points of all methods, sorted by name. No method is imported."""
    return [_points()[name] for name in names()]


@cache
def get(name: str) -> type[Method]:
    """The method class of this name. ArbenchError if there is none, or if its package cannot be imported."""
    if name not in _points():
        raise unknown("method", name, _points())
    point = _points()[name]
    try:
        found = point.load()
    except Exception as error:
        raise ArbenchError(f"method {name!r} ({point.value}) cannot be imported: {error}{whence(point)}") from error
    if found.name != name:
        raise ArbenchError(f"method {name!r} ({point.value}) calls itself {found.name!r}: the two names must be one")
    return found


def whence(point: EntryPoint) -> str:
    """Says, in brackets, which file Python imports as the package of an entry point. It is called if the entry point
    cannot be loaded: the file may belong to another package of the same name. Empty if Python finds no file."""
    package = point.value.partition(":")[0].partition(".")[0]
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module that a program made at run time
        return ""
    return f" ({package!r} is {spec.origin})" if spec is not None and spec.origin else ""
