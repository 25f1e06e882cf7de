"""How much is measured: on a GPU, and in a rehearsal on a CPU."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.execution.modes import AUTO, OFF


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    presets: Mapping[str, tuple[str, str]]  # the published models: name in the table -> method, preset
    precision: str  # in which times are taken
    capture: str  # as the timing protocol's key
    batch: int  # of throughput
    rounds: tuple[int, int]  # fewest and most rounds of timing
    floors: Mapping[str, float]  # model -> least share of the floor, at batch 1
    # Images of the part ``same``, and how many are computed at once, for the published models: precision -> model.
    large: Mapping[str, Mapping[str, tuple[int, int]]]
    small: tuple[int, int | None]  # the same for fmnist; None is the preset's own number
    cuts: tuple[int, ...]  # numbers of shards that are compared with one shard
    images: tuple[int, int | None]  # the same for the part ``cpu``
    reference: int | None  # images of fmnist with which scores of that part are computed; None for all
    pictures: int  # that Inception sees
    draws: tuple[int, int, int, int]  # rows, positions, vocabulary, top-k
    # Of the part ``same``: where a process is killed once. fmnist, in each precision; models, in bf16.
    killed: tuple[str, ...]
    fmnist: tuple[str, ...] | None = None  # the methods whose fmnist presets are compared; None for all


MODELS = {
    "VAR-d16": ("var", "imagenet256-d16"),
    "EAR-B": ("ear", "imagenet256-b"),
    "LlamaGen-B": ("raster", "imagenet256-b"),
}
REAL = Settings(
    presets=MODELS,
    precision="bf16",
    capture=AUTO,
    batch=64,
    rounds=(13, 300),
    floors={"VAR-d16": 0.20, "EAR-B": 0.20, "LlamaGen-B": 0.25},
    # Numbers that neither compute batches nor shards divide. VAR in bf16 is computed as its preset says, 64 at once.
    large={"fp32": dict.fromkeys(MODELS, (50, 16)), "bf16": {**dict.fromkeys(MODELS, (50, 16)), "VAR-d16": (141, 64)}},
    small=(1003, None),
    cuts=(3, 8),
    images=(1000, None),
    reference=None,
    pictures=16,
    draws=(64, 256, 4096, 900),
    killed=("fmnist", *MODELS),
)
"""What is measured on a GPU."""
FAKE = Settings(
    presets={name: (method, "fmnist") for name, (method, _) in MODELS.items()},
    precision="fp32",
    capture=OFF,
    batch=2,
    rounds=(2, 2),
    floors=REAL.floors,
    large=dict.fromkeys(("fp32", "bf16"), dict.fromkeys(MODELS, (10, 4))),
    small=(11, 4),
    cuts=(3,),
    images=(16, 8),
    reference=200,
    pictures=1,
    draws=(2, 3, 64, 16),
    killed=("VAR-d16",),
    fmnist=("var",),
)
"""What a rehearsal does: the same path, with fmnist's presets in place of the published models."""
