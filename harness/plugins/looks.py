"""The appearance of methods in a report. A look is an object that says how the pages of a report show a method: its
colour, its marker in plots, its position in lists, and the other method with which it is compared.

A package that adds methods can also add their looks, through the entry-point group ``arbench.looks``. If a method has
no look, the report chooses a colour and a marker for the method.

    [project.entry-points."arbench.looks"]
    mine = "my_package.looks:LOOKS"
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from harness.plugins.points import installed, load

GROUP = "arbench.looks"


@dataclass(frozen=True)
class Look:
    """What the pages of a report need to know of a method, apart from the method's records."""

    place: int  # pages list methods in the order of this number; methods without a ``Look`` come last, by name
    colour: str  # hex
    mark: str  # matplotlib's name of the marker that shows the method in plots
    family: str  # the method's family; a method without a ``Look`` takes the base of its family
    base: str  # the method with whose cost this method's cost is compared; this method itself if it saves nothing
    published: str = ""  # the method's name in the tables of papers (shared facts: reports/published.csv)
    saving: float = 0.0  # share of the base's FLOPs that the method saves according to its paper; 0: not stated


@cache
def looks() -> Mapping[str, Look]:
    """A dict from the name of a method to its ``Look``, in the order in which pages list the methods.

    The dict holds the methods for which an installed package declares a ``Look``.
    """
    known = installed(GROUP)
    found: dict[str, Look] = {}
    for name in sorted(known):
        found |= load("looks", name, known)
    return dict(sorted(found.items(), key=lambda item: item[1].place))


def base_of(method: str, family: str) -> str:
    """The name of the base of a method. The savings of the method are stated as a share of the base's cost.

    If a package declares a ``Look`` for the method, the ``Look`` names the base. A method without a ``Look`` has the
    same base as the first method of its family that has a ``Look``. If the family has no such method, the base is the
    first of all methods that have a ``Look``.

    family: the family of ``method``, as in ``Method.family``.
    """
    known = looks()
    if method in known:
        return known[method].base
    return next((one.base for one in known.values() if one.family == family), next(iter(known), method))
