"""What a method is, seen from the outside: a tokenizer, a network, knobs; labels and noise in, tokens and images
out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from harness.checkpoints.published import Source
from harness.errors import ArbenchError, shown, unknown
from harness.numbers import as_number, is_number
from harness.sampling import Sampling
from harness.setup import Setup

PARTS = ("attention", "ffn", "router", "condition", "embedding", "head", "tokenizer")
"""Parts a cost is broken down by. ``router`` holds all that sparsity adds (routers, selectors, light paths);
``condition`` is adaLN, once an image a step group; ``embedding`` the input projections."""

KnobValue = int | float | str


@dataclass(frozen=True)
class Knob:
    """An axis that a method declares.

    ``kind`` int or float: ``low`` and ``high`` bound it (``high`` itself is left out if ``open_high``); ``choice``: one
    of ``choices``. ``axis``: whether sweeps cross it; ``help``: one line.
    """

    name: str
    kind: Literal["int", "float", "choice"]
    default: KnobValue
    help: str
    low: float | None = None
    high: float | None = None
    open_high: bool = False
    choices: tuple[str, ...] = ()
    axis: bool = False

    def valid(self) -> str:
        """The valid values, in words."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        return f"{self.kind} from {self.low:g} to {'below ' if self.open_high else ''}{self.high:g}"

    def check(self, value: Any) -> KnobValue:
        """The value, of the knob's type; ArbenchError if it has another or lies out of range."""
        complaint = ArbenchError(f"knob {self.name} = {shown(value)} is out of range (valid: {self.valid()})")
        if self.kind == "choice":
            if value not in self.choices:
                raise complaint
            return str(value)
        if not is_number(value) or (self.kind == "int" and value != int(value)):
            raise complaint
        assert self.low is not None and self.high is not None
        if not self.low <= value <= self.high or (self.open_high and value == self.high):
            raise complaint
        return as_number(value, self.kind == "int")


@dataclass(frozen=True)
class Preset:
    """Architecture plus data: all that tells one instance of a method from another, as plain values.

    data: name of the data set (``fmnist``); tokenizer: name of its tokenizer's configuration; network: keyword
    arguments of the network; sampling: the default settings; classes: how many; image: (channels, height, width);
    weights: file name of the network's published weights, empty if they are bundled or there are none; knobs: those
    whose range or default is the preset's own, in place of the method's; setup: the paper's own labels and uint8 rule.
    """

    name: str
    data: str
    tokenizer: str
    network: Mapping[str, Any]
    sampling: Sampling
    classes: int
    image: tuple[int, int, int]
    notes: str = ""
    weights: str = ""
    knobs: tuple[Knob, ...] = ()
    setup: Setup = Setup()


@dataclass(frozen=True)
class Generated:
    """What sampling gives. tokens: int64 [B, positions], in the tokenizer's own (raster or scale) order; steps: int64
    [B], the sequential network evaluations that each image really took."""

    tokens: Tensor
    steps: Tensor


@dataclass(frozen=True)
class Provenance:
    """Where a built method's weights came from: files and their sha256, or nothing for random weights."""

    weights: Mapping[str, str] = field(default_factory=dict)


class Method(nn.Module, ABC):
    """A generator: tokenizer + network, built from a preset and a checkpoint.

    A subclass is registered under the entry-point group ``arbench.methods``. Its modules carry a ``part`` attribute
    (one of PARTS) where their cost belongs to a part; a child without one belongs to its parent's. ``sample`` and
    ``decode`` work in whatever precision ``harness.setup.in_precision`` has put the weights in.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    paper: ClassVar[str]
    differences: ClassVar[str]
    knobs: ClassVar[tuple[Knob, ...]] = ()
    presets: ClassVar[Mapping[str, Preset]]

    preset: Preset
    provenance: Provenance
    tokenizer: nn.Module
    network: nn.Module

    @classmethod
    @abstractmethod
    def build(cls, preset: str) -> "Method":
        """The method with random weights (seeded by torch's global generator)."""

    @classmethod
    @abstractmethod
    def load(cls, preset: str, checkpoint: Path | None = None) -> "Method":
        """The method with trained weights in eval mode: the bundled ones, or those of ``checkpoint``.

        Raises ArbenchError naming the file and the fault if it is missing, truncated or does not fit.
        """

    @classmethod
    def weight_files(cls, preset: str) -> tuple[Path, ...]:
        """The files that ``load(preset)`` reads, tokenizer's included: a record's key hashes them without loading. The
        first is the one that ``checkpoint`` takes the place of."""
        return ()

    @classmethod
    def weight_sources(cls, preset: str) -> Mapping[str, Source]:
        """Where those of ``weight_files`` that are not bundled can be fetched from, by file name."""
        return {}

    @classmethod
    def same_as(cls, knobs: Mapping[str, KnobValue], preset: str) -> "tuple[str, dict[str, KnobValue]] | None":
        """The method, with its knobs, whose trial has the same tokens bit for bit and the same MACs, at the same preset
        and sampling and on the same weights; None if none has. Images and their scores are then made once for both;
        FLOPs are counted, and time is taken, for each. knobs: complete."""
        return None

    @property
    @abstractmethod
    def positions(self) -> int:
        """How many uniforms an image takes: the width of ``noise``."""

    @property
    def grids(self) -> tuple[int, ...]:
        """Sides of the square grids that the positions fill one after the other, raster by raster; empty where they do
        not lie on such, or a method does not tell: its images then have no trace (harness.traces)."""
        return ()

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of token values; tokens lie in [0, vocabulary)."""

    def pack(self) -> None:
        """Lay the weights out as the device reads them best. Called when they are in their precision and on their
        device, unless a compiler is to do it; nothing but ``sample`` and ``decode`` comes after it."""

    @abstractmethod
    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        """labels: int64 [B]; noise: float64 [B, positions] in [0, 1); knobs: complete, as ``resolve`` gives them."""

    @abstractmethod
    def decode(self, tokens: Tensor) -> Tensor:
        """tokens [B, positions] -> images float32 [B, C, H, W] in [0, 1]."""

    @abstractmethod
    def closed_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        """MACs an image by part (keys from PARTS), from the architecture alone: matrix products, convolutions and
        attention over the slots attended to; element-wise work is left out. Data-dependent knobs raise ArbenchError."""

    def published_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        """``closed_form`` as the authors' own code computes it, where that does work which ours spares."""
        return self.closed_form(knobs, sampling)

    def step_forms(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> list[dict[str, float]]:
        """``closed_form`` step by step, in the order of ``schedule``, without what is done once an image. Empty where a
        method does not tell."""
        return []

    @abstractmethod
    def schedule(self, knobs: Mapping[str, KnobValue]) -> list[list[int]]:
        """The positions decided at each step, in order: a partition of range(positions)."""

    @classmethod
    def preset_named(cls, name: str) -> Preset:
        """The preset; ArbenchError naming the valid ones if there is none."""
        if name not in cls.presets:
            raise unknown(f"preset of {cls.name}", name, cls.presets)
        return cls.presets[name]

    @classmethod
    def knobs_of(cls, preset: str) -> tuple[Knob, ...]:
        """The method's knobs, with the preset's own in place of those that have the same name."""
        own = {knob.name: knob for knob in cls.preset_named(preset).knobs}
        return tuple(own.get(knob.name, knob) for knob in cls.knobs)

    @classmethod
    def resolve(cls, given: Mapping[str, Any], preset: str | None = None) -> dict[str, KnobValue]:
        """All knobs with their values: those given, checked, and the defaults of the others (a preset's, if named)."""
        knobs = cls.knobs if preset is None else cls.knobs_of(preset)
        by_name = {knob.name: knob for knob in knobs}
        for name in given:
            if name not in by_name:
                raise unknown(f"knob of {cls.name}", name, by_name)
        return {knob.name: knob.check(given.get(knob.name, knob.default)) for knob in knobs}
