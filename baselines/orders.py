"""Two controls for EAR. They have EAR's network, schedules and training, but another order of the places.

A place is a cell of the token grid. EAR samples the places along a spiral, from the centre outwards. Only the order
differs between ``ear`` and the controls. A comparison with the controls therefore shows whether the spiral is what
helps.
"""

from collections.abc import Mapping
from typing import ClassVar

from baselines.next_set import NextSet, next_set_preset
from harness.method import Preset


class RasterBlocks(NextSet):
    """Next-set prediction row by row: several neighbouring places of a row at once."""

    name: ClassVar[str] = "raster-blocks"
    title: ClassVar[str] = "Raster blocks"
    family: ClassVar[str] = "order control"
    paper: ClassVar[str] = "control of arbench (naive raster multi-token prediction, cf. PAR, arXiv 2412.15119)"
    differences: ClassVar[str] = "EAR's network and schedules, raster order"
    presets: ClassVar[Mapping[str, Preset]] = next_set_preset("raster")


class RandomOrder(NextSet):
    """Next-set prediction in one random order, the same for every image.

    The places that are sampled in one step lie scattered over the grid.
    """

    name: ClassVar[str] = "random-order"
    title: ClassVar[str] = "Random order"
    family: ClassVar[str] = "order control"
    paper: ClassVar[str] = "control of arbench (distant tokens together, cf. PAR, arXiv 2412.15119)"
    differences: ClassVar[str] = "EAR's network and schedules, one fixed random order"
    presets: ClassVar[Mapping[str, Preset]] = next_set_preset("scattered")
