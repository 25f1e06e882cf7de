"""Lists the entry points of a group by name, and loads one of them."""

import importlib.util
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from harness.errors import ArbenchError, unknown


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """The installed entry points of a group: a dict from name to entry point. The entry points are not loaded."""
    return {point.name: point for point in entry_points(group=group)}


def load(kind: str, name: str, known: Mapping[str, EntryPoint]) -> Any:
    """Load the object to which an entry point refers. kind: the word for such objects in messages, as in "method".

    Raises ArbenchError, which lists the valid names, if there is no such entry point. Raises ArbenchError, too, if its
    package cannot be imported.
    """
    if name not in known:
        raise unknown(kind, name, known)
    point = known[name]
    try:
        return point.load()
    except Exception as error:
        raise ArbenchError(f"{kind} {name!r} ({point.value}) cannot be imported: {error}{whence(point)}") from error


def load_named(kind: str, name: str, known: Mapping[str, EntryPoint]) -> Any:
    """Load an object as ``load`` does. Raises ArbenchError if the object's attribute ``name`` differs from the
    argument ``name``."""
    found = load(kind, name, known)
    if found.name != name:
        value = known[name].value
        raise ArbenchError(f"{kind} {name!r} ({value}) calls itself {found.name!r}: the two names must be one")
    return found


def whence(point: EntryPoint) -> str:
    """A remark in brackets for the error message about an entry point that cannot be loaded.

    The remark gives the path of the file from which Python imports the entry point's package. From this path the user
    can see whether Python imports the right package, or another package of the same name. The remark is empty if Python
    finds no file.
    """
    package = point.value.partition(":")[0].partition(".")[0]
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module that a program made at run time
        return ""
    return f" ({package!r} is {spec.origin})" if spec is not None and spec.origin else ""
