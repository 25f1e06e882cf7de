"""Small networks with random weights under which every input matters, for tests of who sees whom."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from baselines.next_set_network import NextSetNetwork
from baselines.raster import RasterNetwork
from baselines.tokenizers.vq import Codebook, MultiScaleQuantiser
from baselines.var import VARNetwork
from harness.conformance.subjects import liven

Network = TypeVar("Network", bound=nn.Module)
CLASSES, VOCABULARY, GRID, SCALES = 3, 16, 4, (1, 2, 3)
SMALL: dict[str, Any] = {"vocabulary": VOCABULARY, "grid": GRID, "classes": CLASSES, "dim": 32, "layers": 3, "heads": 2}


def next_set(order: str) -> NextSetNetwork:
    """On a 4x4 grid."""
    return _lively(NextSetNetwork(order, **SMALL))


def raster() -> RasterNetwork:
    """On a 4x4 grid."""
    return _lively(RasterNetwork(**SMALL))


def var() -> tuple[VARNetwork, MultiScaleQuantiser]:
    """Over scales 1, 2 and 3, with its quantiser."""
    network = _lively(VARNetwork(VOCABULARY, 8, SCALES, CLASSES, 32, 3, 2))
    return network, MultiScaleQuantiser(Codebook(VOCABULARY, 8), SCALES).eval()


def _lively(network: Network) -> Network:
    torch.manual_seed(4)
    liven(network)
    return network.eval()


def tokens(positions: int, seed: int = 0) -> Tensor:
    """[1, positions]."""
    return torch.randint(VOCABULARY, (1, positions), generator=torch.Generator().manual_seed(seed))


def another(value: Tensor) -> Tensor:
    """A token that is not this one."""
    return (value + 5) % VOCABULARY
