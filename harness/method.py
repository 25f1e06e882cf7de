"""The interface of a method. A method has a tokenizer, a network and knobs; it turns labels and noise into tokens and
images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
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
"""Parts into which a cost is split. ``router`` is all work that sparsity adds (routers, selectors, light paths).
``condition`` is adaLN, which runs once per image and step group. ``embedding`` is the input projections."""

KnobValue = int | float | str


@dataclass(frozen=True)
class Knob:
    """A setting that a method declares, with its valid values."""

    name: str
    kind: Literal["int", "float", "choice"]
    default: KnobValue
    help: str  # one line
    low: float | None = None  # lower bound of an int or float
    high: float | None = None  # upper bound of an int or float
    open_high: bool = False  # whether ``high`` itself is excluded
    choices: tuple[str, ...] = ()  # valid values of a choice
    axis: bool = False  # whether the knob is an axis of sweeps; a trial's name then always contains the knob

    def valid(self) -> str:
        """The valid values, in words."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        return f"{self.kind} from {self.low:g} to {'below ' if self.open_high else ''}{self.high:g}"

    def check(self, value: Any) -> KnobValue:
        """The value, in the knob's type. ArbenchError if it has another type or is out of range."""
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
    """The settings of one instance of a method, as plain values: architecture, data set and so on."""

    name: str
    data: str  # name of the data set (``fmnist``)
    tokenizer: str  # name of the tokenizer's configuration
    network: Mapping[str, Any]  # keyword arguments of the network
    sampling: Sampling  # the default settings
    classes: int  # number of classes
    image: tuple[int, int, int]  # (channels, height, width)
    notes: str = ""
    weights: str = ""  # file name of the network's published weights; empty if they are bundled or there are none
    knobs: tuple[Knob, ...] = ()  # replace the method's knobs where this preset has another range or default
    setup: Setup = Setup()  # the paper's labels and uint8 rule; the number of images that are computed at once


@dataclass(frozen=True)
class Generated:
    """The result of sampling."""

    tokens: Tensor  # int64 [B, positions], in the tokenizer's order (raster or scale)
    steps: Tensor  # int64 [B]: number of sequential network evaluations that each image really took


@dataclass(frozen=True)
class Loop:
    """Sampling a batch as a loop of steps that do equal work, so that a device can capture one step and replay it.

    A method with hundreds of steps offers a loop, because capturing every step would take long. All state is in tensors
    that stay where they are: ``begin`` and ``step`` write into them. The tensors of labels and noise with which the
    loop was made are read again by each ``begin``.
    All functions are called within ``torch.inference_mode()``.
    """

    kinds: Sequence[int]  # the kind of each step, in order; steps of one kind do the same work on the same tensors
    begin: Callable[[], None]  # brings the state to before the first step
    step: Callable[[int], None]  # takes the next step, which is of the kind given
    result: Callable[[], "Generated"]  # the batch, after the last step
    # The kind with which each step does no work that pads it, such as attention to empty slots; empty if none is
    # padded. Costs are counted on these kinds, so that they do not depend on how a loop is cut into kinds.
    unpadded: Sequence[int] = ()

    def run(self) -> "Generated":
        """Takes all steps, one after the other."""
        self.begin()
        for kind in self.kinds:
            self.step(kind)
        return self.result()


@dataclass(frozen=True)
class Provenance:
    """Where the weights of a method came from."""

    weights: Mapping[str, str] = field(default_factory=dict)  # sha256 of each file, by name; empty for random weights


class Method(nn.Module, ABC):
    """A generator of images: a tokenizer and a network, built from a preset and a checkpoint.

    A subclass is registered under the entry-point group ``arbench.methods``.

    Costs are split into PARTS. A module's attribute ``part`` names the part to which the module's cost belongs. A child
    module without this attribute belongs to the part of its parent module.

    ``sample`` and ``decode`` work in the precision of the weights. ``harness.setup.in_precision`` sets that precision.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    paper: ClassVar[str]
    differences: ClassVar[str]
    knobs: ClassVar[tuple[Knob, ...]] = ()
    presets: ClassVar[Mapping[str, Preset]]

    def __init_subclass__(cls, **about: Any) -> None:
        super().__init_subclass__(**about)
        samples, loops = (
            next(place for place, base in enumerate(cls.__mro__) if name in base.__dict__)
            for name in ("sample", "loop")
        )
        if samples < loops:  # ``sample`` was defined anew, here or in a mixin: the loop of a base does other work
            cls.loop = Method.loop  # type: ignore[method-assign]

    preset: Preset
    provenance: Provenance
    tokenizer: nn.Module
    network: nn.Module
    # ``Setup.tf32`` of the trial for which the method was loaded. Whoever times the method enters
    # ``harness.machine.arithmetic.arithmetic`` with it; ``sample`` and ``decode`` do not look at it.
    tf32: str = "off"

    @classmethod
    @abstractmethod
    def build(cls, preset: str) -> "Method":
        """The method with random weights (seeded by torch's global generator)."""

    @classmethod
    @abstractmethod
    def load(cls, preset: str, checkpoint: Path | None = None) -> "Method":
        """The method with trained weights, in eval mode. The weights are read from ``checkpoint`` if it is given;
        otherwise they are the bundled or published weights.

        Raises ArbenchError naming the file and the fault if a file is missing, truncated or does not fit.
        """

    @classmethod
    def weight_files(cls, preset: str) -> tuple[Path, ...]:
        """The files that ``load(preset)`` reads, including the tokenizer's files.

        The argument ``checkpoint`` of ``load`` replaces the first of these files. The hashes of the files go into a
        record's key. The hashes are computed without loading the method.
        """
        return ()

    @classmethod
    def weight_sources(cls, preset: str) -> Mapping[str, Source]:
        """The sources of the weight files that are not bundled: a dict from file name to source."""
        return {}

    @classmethod
    def same_as(cls, knobs: Mapping[str, KnobValue], preset: str) -> "tuple[str, dict[str, KnobValue]] | None":
        """The name and the knobs of another method that gives the same tokens as this method, bit for bit.

        None if there is no such method. The other method must also need the same MACs as this method. The other method
        is used with this method's preset, sampling and weights.

        If there is such a method, a trial of this method shares its images and scores with a trial of the other method.
        These images and scores are made once for the two trials. FLOPs and time are measured for each of the two.

        knobs: the knobs of this method, complete, as ``resolve`` gives them.
        """
        return None

    @property
    @abstractmethod
    def positions(self) -> int:
        """How many uniform random numbers are needed to draw one image: the width of ``noise``."""

    @property
    def grids(self) -> tuple[int, ...]:
        """The sides of the method's square grids. The positions fill one grid after the other, each in raster order.

        Empty if the positions do not lie on square grids, or if the method does not define ``grids``.

        The grids are needed for traces. A trace says at which step each position of an image was decided
        (harness.traces). The pages of a report show traces on the grids. If ``grids`` is empty, no trace is made.
        """
        return ()

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of token values; tokens lie in [0, vocabulary)."""

    def pack(self) -> None:
        """Bring the weights into the layout that the device reads best.

        ``pack`` is called when the weights have their precision and are on their device. If a compiler does this work,
        ``pack`` is not called. After ``pack`` only ``sample`` and ``decode`` are called.
        """

    @abstractmethod
    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        """Draw the tokens of a batch of images.

        labels: int64 [B].
        noise: float64 [B, positions], in [0, 1).
        knobs: complete, as ``resolve`` gives them.
        """

    def captures(self, knobs: Mapping[str, KnobValue]) -> bool:
        """Whether ``sample`` and ``decode`` do the same work whatever is generated, so that they can be captured once
        and replayed (CUDA graphs).

        Then, from the second batch of a size on, neither of them waits for a value from the device or copies from the
        host. The conformance suite tests this. A method whose number of steps depends on content returns False.
        """
        return True

    def loop(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Loop | None:
        """The same as ``sample``, as a loop of equal steps. None if the method has no such loop.

        The arguments are those of ``sample``.
        """
        return None

    @abstractmethod
    def decode(self, tokens: Tensor) -> Tensor:
        """Turn ``tokens`` [B, positions] into images, float32 [B, C, H, W] in [0, 1]."""

    @abstractmethod
    def closed_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        """MACs per image by part (keys from PARTS), computed from the architecture alone.

        Matrix products and convolutions are counted. So is attention, but only over the slots that are attended to.
        Element-wise work is not counted. Raises ArbenchError if the MACs depend on the image under these knobs.
        """

    def published_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        """MACs per image that the authors' code needs, by part. The MACs differ from those of ``closed_form`` if the
        authors' code does work that our code avoids."""
        return self.closed_form(knobs, sampling)

    def step_forms(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> list[dict[str, float]]:
        """MACs of each step, by part as in ``closed_form``, in the order of ``schedule``. Work that is done once per
        image is left out. Empty if the method does not define ``step_forms``."""
        return []

    @abstractmethod
    def schedule(self, knobs: Mapping[str, KnobValue]) -> list[list[int]]:
        """For each step, in order: the positions that are decided at this step. Each position is decided at
        exactly one step."""

    @classmethod
    def preset_named(cls, name: str) -> Preset:
        """The preset of this name; ArbenchError naming the valid names if there is none."""
        if name not in cls.presets:
            raise unknown(f"preset of {cls.name}", name, cls.presets)
        return cls.presets[name]

    @classmethod
    def knobs_of(cls, preset: str) -> tuple[Knob, ...]:
        """The method's knobs. A knob of the preset replaces the method's knob of the same name."""
        own = {knob.name: knob for knob in cls.preset_named(preset).knobs}
        return tuple(own.get(knob.name, knob) for knob in cls.knobs)

    @classmethod
    def resolve(cls, given: Mapping[str, Any], preset: str | None = None) -> dict[str, KnobValue]:
        """The values of all knobs: the values in ``given``, which are checked, and the defaults of all other knobs. If
        ``preset`` is given, the defaults are the preset's."""
        knobs = cls.knobs if preset is None else cls.knobs_of(preset)
        by_name = {knob.name: knob for knob in knobs}
        for name in given:
            if name not in by_name:
                raise unknown(f"knob of {cls.name}", name, by_name)
        return {knob.name: knob.check(given.get(knob.name, knob.default)) for knob in knobs}
