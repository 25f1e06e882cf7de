"""The extractors, by name. They are found through the entry-point group ``arbench.extractors``, so that any package can
add an extractor:

    [project.entry-points."arbench.extractors"]
    stripes-mean = "my_package.looks:load"

Such an entry names a function that returns an ``Extractor``. The function takes one argument: the path of the
extractor's weights, or None for the default weights.
"""

from pathlib import Path

from harness.errors import ArbenchError, unknown
from harness.extractors.base import INCEPTION, Extractor
from harness.images import datasets
from harness.plugins import points

GROUP = "arbench.extractors"


def usual(data: str) -> str:
    """The name of the extractor that is used for a data set if the user names no extractor. If no installed package
    declares the data set, this extractor is Inception."""
    declared = datasets.known(data)
    return INCEPTION if declared is None else declared.extractor


def known(name: str, source: str) -> str:
    """Checks that there is an extractor of this name, and returns the name. If there is none, raises ArbenchError
    listing the valid names.

    source: the sweep file in which the extractor is named. The error begins with the name of the sweep file.
    """
    if name not in points.installed(GROUP):
        raise ArbenchError(f"{source}: {unknown('extractor', name, points.installed(GROUP))}")
    return name


def load(name: str, weights: Path | None = None) -> Extractor:
    """The extractor of this name, with the given weights or its default ones.

    Raises ArbenchError if there is no such extractor; the error lists the valid names. Also raises ArbenchError if the
    extractor's package cannot be imported.
    """
    made: Extractor = points.load("extractor", name, points.installed(GROUP))(weights)
    return made
