"""How methods are shown on pages, and what they are compared with. A package that adds methods may say so for them,
through the entry-point group ``arbench.looks``; a method without a look gets what is left.

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
    """What pages know of a method beside its records."""

    place: int  # methods are listed in this order; those without a look follow, by name
    colour: str  # hex
    mark: str  # matplotlib's name of the mark
    family: str  # the method's family; its other methods have the same base
    base: str  # the method whose cost savings are a share of; its own name if it saves nothing
    published: str = ""  # the method's name in the tables of papers (shared facts: reports/published.csv)
    saving: float = 0.0  # the share of the base's FLOPs that the method's paper says it saves; 0 if it says nothing


@cache
def looks() -> Mapping[str, Look]:
    """The looks that are installed, by method, in their order."""
    known = installed(GROUP)
    found: dict[str, Look] = {}
    for name in sorted(known):
        found |= load("looks", name, known)
    return dict(sorted(found.items(), key=lambda item: item[1].place))


def base_of(method: str, family: str) -> str:
    """The method whose cost a method's savings are a share of: that of its look, else that of its family, else the
    first of all methods."""
    known = looks()
    if method in known:
        return known[method].base
    return next((one.base for one in known.values() if one.family == family), next(iter(known), method))
