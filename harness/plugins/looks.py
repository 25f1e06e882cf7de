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

    place: int  # methods are listed in this order; methods without a look come last, by name
    colour: str  # hex
    mark: str  # matplotlib's name of the mark
    family: str  # the method's family; a method without a look takes the base of its family
    base: str  # a method; savings are a share of that method's cost. The look's own method if it saves nothing
    published: str = ""  # the method's name in the tables of papers (shared facts: reports/published.csv)
    saving: float = 0.0  # share of the base's FLOPs that the method saves according to its paper; 0: not stated


@cache
def looks() -> Mapping[str, Look]:
    """The installed looks: a dict from method to look, in the order in which methods are listed."""
    known = installed(GROUP)
    found: dict[str, Look] = {}
    for name in sorted(known):
        found |= load("looks", name, known)
    return dict(sorted(found.items(), key=lambda item: item[1].place))


def base_of(method: str, family: str) -> str:
    """The name of the base of a method. The savings of the method are stated as a share of the base's cost.

    The look of the method names the base. If the method has no look, the base is named by the first look of another
    method of the same family. If there is no such look either, the base is the first method that has a look.

    family: the family of ``method``, as in ``Method.family``.
    """
    known = looks()
    if method in known:
        return known[method].base
    return next((one.base for one in known.values() if one.family == family), next(iter(known), method))
