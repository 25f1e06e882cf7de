"""The extractors, by name. They are found through the entry-point group ``arbench.extractors``, so that a stranger's
package adds one as it adds a method:

    [project.entry-points."arbench.extractors"]
    stripes-mean = "my_package.looks:load"

The entry is a callable: given a path of weights, or None for its own, it returns an ``Extractor``.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from harness.errors import ArbenchError, unknown
from harness.extractors.base import INCEPTION, Extractor
from harness.images import datasets

GROUP = "arbench.extractors"


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def usual(data: str) -> str:
    """Name of the extractor that a data set is scored with if none is named. Undeclared data take Inception."""
    declared = datasets.known(data)
    return INCEPTION if declared is None else declared.extractor


def load(name: str, weights: Path | None = None) -> Extractor:
    """The extractor of this name, with the given weights or its default ones.

    Raises ArbenchError, which lists the valid names, if there is none, and if its package cannot be imported.
    """
    if name not in _points():
        raise unknown("extractor", name, _points())
    try:
        found = _points()[name].load()
    except Exception as error:
        raise ArbenchError(f"extractor {name!r} ({_points()[name].value}) cannot be imported: {error}") from error
    made: Extractor = found(weights)
    return made
