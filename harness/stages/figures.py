"""The table of figures. A figure is a number that is measured for a trial, such as FID or latency. Each figure is
declared here, and only here.

All code that reads figures uses this table: the check of imported records, `compare`, `diff`, `score`, the pages,
claims and exports. A new figure needs a line in FIGURES and the code that computes it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

from harness.stages import clocks, floors


@dataclass(frozen=True)
class Figure:
    """The description of a figure (a number such as FID or latency): everything about the figure except its values."""

    name: str  # used in claims, in columns and in scripts
    title: str  # the name in words, for people
    about: str  # one line that says what the figure is
    better: Literal["low", "high"] | None = None  # whether a low or a high value is better; None if neither is
    unit: str = ""  # printed after the title on pages
    path: str = ""  # dotted path in a record; empty if reports compute it from other figures
    interval: str = ""  # dotted path of its 95 % interval in a record; empty if it has none
    by_extractor: bool = False  # whether each extractor has its own value
    scale: float = 1.0  # factor from the record's unit to the unit used in reports
    digits: int = 3  # significant digits printed
    places: int | None = None  # decimals printed, if given, in place of significant digits
    valid: tuple[float, float] | None = None  # lowest and highest possible value, in the record's unit
    unknown: float | None = None  # a value by which old records say that they have none
    # Whose times the figure is of: the first clock's or the eager clock's (harness.stages.clocks); empty if of neither.
    clock: Literal["", "first", "eager"] = ""
    derived: Callable[[Mapping[str, Any]], float | None] | None = None  # computes the value from a record without path
    derived_ends: Callable[[Mapping[str, Any]], tuple[float, float] | None] | None = None  # the same for the interval

    @property
    def heading(self) -> str:
        """Title and unit, as the heading of a column."""
        return f"{self.title} {self.unit}".strip()

    @property
    def relative(self) -> bool:
        """Whether the figure is a time or an energy of a record itself. Such figures are compared by logarithm. The
        time that was saved is none: it is a ratio within a session already."""
        return bool(self.clock and (self.path or self.derived))

    @property
    def of_quality(self) -> bool:
        """Whether the figure is a score. A score compares images with a reference, and needs trained weights."""
        return self.path.startswith("quality.")

    def value(self, record: Mapping[str, Any], extractor: str) -> float | None:
        """The figure's value in a record, converted to the unit used in reports. None if the record has no value.

        extractor: name of the extractor. It matters only for figures that have one value for each extractor.
        """
        found = self.derived(record) if self.derived else _at(record, self.path, extractor)
        return self.scale * found if isinstance(found, int | float) and found != self.unknown else None

    def ends(self, record: Mapping[str, Any], extractor: str) -> tuple[float, float] | None:
        """The ends of the figure's interval in a record, converted to the unit used in reports. None if the record has
        no interval."""
        found = self.derived_ends(record) if self.derived_ends else _at(record, self.interval, extractor)
        return (self.scale * found[0], self.scale * found[1]) if found else None


def _score(name: str, title: str, about: str, better: Literal["low", "high"], **more: Any) -> Figure:
    """Describe a metric of the stage quality. Its paths in a record follow from its name."""
    return Figure(name, title, about, better, path=f"quality.{name}", interval=f"quality.intervals.{name}", **more)


def _eager(
    name: str, title: str, about: str, better: Literal["low", "high"], parts: Sequence[str], **more: Any
) -> Figure:
    """Describe a figure of the eager clock (harness.stages.clocks).

    parts: ``latency`` or ``throughput``; the value's name in it; the name of the value's interval.
    """
    kind, value, ends = parts
    found, interval = (partial(clocks.eager_value, kind=kind, name=part) for part in (value, ends))
    return Figure(
        name, title, about, better, valid=POSITIVE, clock="eager", derived=found, derived_ends=interval, **more
    )


def _floor(batch: int, kind: str) -> tuple[Figure, Figure]:
    """The floor at one batch size, and the share of it that is reached. kind: ``latency`` or ``throughput``."""
    of = "an image" if batch == 1 else f"a batch of {batch}"
    least = partial(floors.floor, kind=kind)
    share, ends = partial(floors.share, kind=kind), partial(floors.share_ends, kind=kind)
    return (
        Figure(f"floor_b{batch}", f"Floor b{batch}", f"least time of {of} for its bytes and FLOPs on this device",
               "low", "(ms)", scale=1e3, derived=least),
        Figure(f"floor_share_b{batch}", f"Floor reached b{batch}", f"floor / measured time, at batch {batch}", "high",
               "(%)", scale=100.0, places=1, valid=PLAUSIBLE, clock="first", derived=share, derived_ends=ends),
    )  # fmt: skip


SHARE = (0.0, 1.0)
POSITIVE = (1e-9, 1e9)
"""Values that a time, a rate or an energy can have."""
SPAN = (0.0, 1e9)
"""Values that a part of a time can have."""
PLAUSIBLE = (0.0, 10.0)
"""Values that a share of the floor can have. It is above 1 if a device's rates were measured too low, or if a cache
gave what the floor takes from memory."""
FIGURES = (
    Figure("steps", "Steps", "sequential network evaluations really taken, mean over images", None, "",
           "generate.steps_mean"),
    Figure("params", "Params", "parameters of the network, without the tokenizer", None, "(M)",
           "parameters.network", scale=1e-6, places=2),
    _score("fid", "FID", "Fréchet distance to the reference images", "low", by_extractor=True,
           valid=(0, 1e6)),
    _score("fid_infinity", "FID∞", "FID extrapolated to infinitely many images, same features", "low",
           by_extractor=True, valid=(-1e3, 1e6)),
    _score("sfid", "sFID", "Fréchet distance on features that still have places", "low", by_extractor=True,
           valid=(0, 1e6)),
    _score("is", "IS", "Inception Score with the same extractor", "high", places=2, valid=(1, 1e4)),
    _score("kid", "KID", "kernel distance to the reference images", "low", unit="×10³", scale=1e3, valid=(-10, 1e6)),
    _score("precision", "Precision", "share of generated images near the reference", "high", places=3, valid=SHARE),
    _score("recall", "Recall", "share of reference images near the generated", "high", places=3, valid=SHARE),
    _score("density", "Density", "how many reference balls hold a generated image, of 5 expected", "high", places=3,
           valid=(0, 1e3)),
    _score("coverage", "Coverage", "share of reference images with a generated one in their ball", "high", places=3,
           valid=SHARE),
    _score("label_accuracy", "Label acc.", "images that the extractor puts in the asked class", "high", unit="(%)",
           scale=100.0, places=1, valid=SHARE),
    Figure("gmacs", "GMACs / image", "multiply-adds an image, decoder included", "low", "", "flops.macs", scale=1e-9),
    Figure("gflops", "GFLOPs / image", "2 × GMACs, which stand below in small", "low", "", "flops.flops", scale=1e-9),
    Figure("latency", "Latency b1", "one image at batch 1: tokens and decoder", "low", "(ms)",
           "timing.latency.total_s", "timing.latency.interval", scale=1e3, clock="first"),
    Figure("latency_tokens", "of it tokens", "part of the latency that makes tokens", None, "",
           "timing.latency.tokens_s", scale=1e3, valid=SPAN, clock="first"),
    Figure("latency_decoder", "of it decoder", "part of the latency that decodes them", None, "",
           "timing.latency.decoder_s", scale=1e3, valid=SPAN, clock="first"),
    Figure("latency_p90", "Latency b1 p90", "nine of ten images at batch 1 take at most as long", "low", "(ms)",
           "timing.latency.percentiles.p90", scale=1e3, valid=POSITIVE, clock="first"),
    Figure("latency_p99", "Latency b1 p99", "99 of 100 images at batch 1 take at most as long", "low", "(ms)",
           "timing.latency.percentiles.p99", scale=1e3, valid=POSITIVE, clock="first"),
    Figure("throughput", "Images / s b64", "images a second at batch 64: tokens and decoder", "high", "",
           "timing.throughput.images_per_s", "timing.throughput.images_per_s_interval", clock="first"),
    _eager("eager_latency", "Eager latency b1", "latency on CUDA if nothing is captured or compiled", "low",
           ("latency", "total_s", "interval"), unit="(ms)", scale=1e3),
    _eager("eager_throughput", "Eager images / s b64", "throughput on CUDA if nothing is captured or compiled", "high",
           ("throughput", "images_per_s", "images_per_s_interval")),
    # Older records have the median of single generations, shorter than the counter's steps: 0.0 for a small model.
    Figure("joules", "Energy / image b64", "joules an image at batch 64, from runs of 2 s or more", "low", "(J)",
           "timing.throughput.joules_per_image", "timing.throughput.joules_per_image_interval", valid=POSITIVE,
           unknown=0.0, clock="first"),
    Figure("flops_saved", "FLOPs saved", "of the family's dense method at its best setting", "high", "(%)", places=0),
    Figure("saved_b1", "Time saved b1", "what that became in time, at batch 1, round by round", "high", "(%)",
           places=0, clock="first"),
    Figure("saved_b64", "Time saved b64", "the same at batch 64", "high", "(%)", places=0, clock="first"),
    *_floor(1, "latency"),
    *_floor(64, "throughput"),
    Figure("memory", "Peak memory", "of the process", "low", "(MB)", "timing.peak_memory_mb", places=0),
)  # fmt: skip

_BY_NAME = {figure.name: figure for figure in FIGURES}


def figure_named(name: str) -> Figure:
    """The figure of this name. Raises KeyError if there is none."""
    return _BY_NAME[name]


def scores() -> tuple[Figure, ...]:
    """The scores: the figures (numbers such as FID) that the stage quality measures."""
    return tuple(figure for figure in FIGURES if figure.of_quality)


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts flattened into one, names joined by dots; lists are kept as values."""
    row: dict[str, Any] = {}

    def add(values: Mapping[str, Any], prefix: str) -> None:
        for name, value in values.items():
            if isinstance(value, dict):  # a test for Mapping takes longer than all the rest
                add(value, f"{prefix}{name}.")
            else:
                row[prefix + name] = value

    add(record, "")
    return row


def _at(record: Mapping[str, Any], path: str, extractor: str) -> Any:
    """The value at a dotted path of a record; None if there is no value. If there is one value for each extractor, the
    value of ``extractor`` is returned."""
    if not path:
        return None
    found: Any = record
    for part in _parts(path):
        found = found.get(part)
        if found is None:
            return None
    return found.get(extractor) if type(found) is dict else found


@cache
def _parts(path: str) -> list[str]:
    return path.split(".")
