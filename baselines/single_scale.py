"""Two base classes of methods.

``Bundled`` loads the weights and decodes tokens to images. For sampling with guidance, ``Bundled`` also adds the labels
that mean "no class". ``SingleScale`` is a subclass of ``Bundled``, for methods over a single grid of tokens.
``SingleScale`` also counts the MACs of these methods.
"""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from baselines.layouts import FILES, Layout, load_published
from baselines.linear import Linear
from baselines.llama import Trunk
from baselines.tokenizers.recipes import load_tokenizer, new_tokenizer, tokenizer_weights
from baselines.tokenizers.vq import Tokenizer
from baselines.training import GeneratorTrainee
from harness.checkpoints import published as weights
from harness.checkpoints.published import Source
from harness.checkpoints.tensors import Uninitialised
from harness.hashing import sha256
from harness.images.bundled import CLASSES
from harness.method import KnobValue, Method, Preset, Provenance
from harness.sampling import Sampling
from harness.training.loop import Trainee

T = TypeVar("T")


class Bundled(Method):
    """The base class of methods with one weight file for the network and one for the tokenizer.

    A weight file is either bundled (it comes with arbench) or published (it is fetched from where its authors put it).
    """

    weights_folder: ClassVar[Path]
    layout: ClassVar[Layout]  # how published files name the network's tensors
    tokenizer: Tokenizer

    @classmethod
    @abstractmethod
    def new_network(cls, preset: Preset) -> nn.Module:
        """The network with random weights."""

    @classmethod
    def trainee(cls, network: nn.Module, tokenizer: nn.Module) -> Trainee:
        """The network together with its training loss. The loss is computed on the tokens that the tokenizer gives."""
        return GeneratorTrainee(network)

    @classmethod
    def bundled_weights(cls, preset: str) -> Path:
        """The path to which ``arbench train`` writes the network's weights.

        The path lies in the method's folder of weights if the preset's data are bundled, else in the folder of
        published weights.
        """
        file = f"{cls.name}-{preset}.safetensors"
        return cls.weights_folder / file if cls.preset_named(preset).data in CLASSES else weights.place(file)

    @classmethod
    def weight_files(cls, preset: str) -> tuple[Path, ...]:
        found = cls.preset_named(preset)
        network = weights.place(found.weights) if found.weights else cls.bundled_weights(preset)
        return network, tokenizer_weights(found.tokenizer)

    @classmethod
    def weight_sources(cls, preset: str) -> Mapping[str, Source]:
        return {path.name: FILES[path.name].source for path in cls.weight_files(preset) if path.name in FILES}

    def __init__(self, preset: Preset, tokenizer: Tokenizer, network: nn.Module, hashes: Mapping[str, str]) -> None:
        super().__init__()
        self.preset, self.tokenizer, self.network = preset, tokenizer, network
        self.provenance = Provenance(hashes)
        self._tables: dict[tuple[Hashable, ...], Any] = {}
        self.eval()

    @classmethod
    def build(cls, preset: str) -> Self:
        found = cls.preset_named(preset)
        return cls(found, new_tokenizer(found.tokenizer), cls.new_network(found), {})

    @classmethod
    def load(cls, preset: str, checkpoint: Path | None = None) -> Self:
        found = cls.preset_named(preset)
        own, *others = cls.weight_files(preset)
        files = (checkpoint or own, *others)
        weights.must_be_there(files, f"{cls.name}/{preset}", cls.weight_sources(preset))
        with Uninitialised():
            network = cls.new_network(found)
        load_published(files[0], network, cls.layout)
        return cls(found, load_tokenizer(found.tokenizer), network, {file.name: sha256(file) for file in files})

    def table(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` returns: indices, masks and the like, which stay on the device from one batch to the next.

        ``make`` is called once for each key, device and precision of the weights. The key must tell apart whatever else
        the tables depend on. A batch then copies nothing from the host, as CUDA graphs need.
        """
        like = next(self.network.parameters())
        whole = (key, like.device, like.dtype)
        if whole not in self._tables:
            self._tables[whole] = make()
        made: T = self._tables[whole]
        return made

    @property
    def positions(self) -> int:
        return self.tokenizer.positions

    @property
    def vocabulary(self) -> int:
        return self.tokenizer.vocabulary

    @torch.inference_mode()
    def decode(self, tokens: Tensor) -> Tensor:
        return self.tokenizer.decode(tokens)

    def branches(self, labels: Tensor, sampling: Sampling) -> Tensor:
        """Without guidance, the labels [B]. With guidance, the labels and then B labels that mean "no class", [2 B]."""
        return torch.cat([labels, torch.full_like(labels, self.preset.classes)]) if sampling.guided else labels


class SingleScale(Bundled):
    """The base class of raster AR and next-set prediction. Both run LlamaGen's trunk over one grid of tokens."""

    network: Trunk

    def pack(self) -> None:
        for module in self.network.modules():
            if isinstance(module, Linear):
                module.pack()

    @property
    def grids(self) -> tuple[int, ...]:
        return (self.network.grid,)

    @abstractmethod
    def steps(self, knobs: Mapping[str, KnobValue]) -> list[tuple[int, int, int]]:
        """Three numbers for each step of sampling, in this order:

        - how many tokens are fed;
        - to how many slots of the KV cache each of these tokens attends;
        - how many tokens go through the head.
        """

    def closed_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        return self.macs(self.steps(knobs), sampling)

    def step_forms(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> list[dict[str, float]]:
        whole = (self.network_macs([step], sampling, conditions=0) for step in self.steps(knobs))
        return [{part: form[part] for part in ("attention", "ffn", "head")} for form in whole]

    def published_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        """MACs of the authors' code.

        In the code of LlamaGen and of EAR, a token attends to the class and all positions at every step. EAR's code
        also computes the head for every token that is fed, and it computes adaLN anew at every step.
        """
        steps = [(fed, 1 + self.positions, fed) for fed, _, _ in self.steps(knobs)]
        return self.macs(steps, sampling, conditions=len(steps))

    def macs(self, steps: Sequence[tuple[int, int, int]], sampling: Sampling, conditions: int = 1) -> dict[str, float]:
        """``network_macs``, with the MACs of the decoder added."""
        return {**self.network_macs(steps, sampling, conditions), "tokenizer": self.tokenizer.decode_macs()}

    def network_macs(
        self, steps: Sequence[tuple[int, int, int]], sampling: Sampling, conditions: int
    ) -> dict[str, float]:
        """A dict from each part of the network to the MACs of this part.

        steps: as the method ``steps`` returns them; conditions: how often adaLN is computed.
        """
        net, branches = self.network, 1 + sampling.guided
        dim, layers, hidden = net.dim, len(net.layers), net.layers[0].feed_forward.w1.out_features
        fed = sum(tokens for tokens, _, _ in steps)
        attended = sum(tokens * slots for tokens, slots, _ in steps)
        adaln = 6 * dim * dim * conditions if net.layers[0].ada_lin else 0
        return {
            "attention": branches * layers * (4 * dim * dim * fed + 2 * dim * attended),
            "ffn": branches * layers * 3 * dim * hidden * fed,
            "condition": branches * layers * adaln,
            "head": branches * dim * self.vocabulary * sum(headed for _, _, headed in steps),
        }
