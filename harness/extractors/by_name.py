"""The extractors, by name. They are found through the entry-point group ``arbench.extractors``, so that any package can
add an extractor, in the same way in which it can add a method:

    [project.entry-points."arbench.extractors"]
    stripes-mean = "my_package.looks:load"

The entry names a function that takes a path of weights, or None for the extractor's default weights, and returns an
``Extractor``.
"""

from pathlib import Path

from harness.errors import ArbenchError, unknown
from harness.extractors.base import INCEPTION, Extractor
from harness.images import datasets
from harness.plugins import points

GROUP = "arbench.extractors"


def usual(data: str) -> str:
    """The name of the extractor that scores a data set if the user names no extractor. For a data set that no installed
    package declares, this is Inception."""
    declared = datasets.known(data)
    return INCEPTION if declared is None else declared.extractor


def known(name: str, source: str) -> str:
    """Check that an extractor has the name that a sweep file gives; returns the name. Raises ArbenchError, which lists
    the valid names, if there is no such extractor. source: the file's name for the error"""
    if name not in points.installed(GROUP):
        raise ArbenchError(f"{source}: {unknown('extractor', name, points.installed(GROUP))}")
    return name


def load(name: str, weights: Path | None = None) -> Extractor:
    """The extractor of this name, with the given weights or its default ones.

    Raises ArbenchError, which lists the valid names, if there is no such extractor. Raises ArbenchError, too, if the
    extractor's package cannot be imported.
    """
    made: Extractor = points.load("extractor", name, points.installed(GROUP))(weights)
    return made
