"""The base class of the sparse versions of VAR.

The class has the knobs of the sparse versions. It loads a sparse version on top of ``var``'s weights and counts the
MACs of the sparse version. It also has the recipe by which the sparse version is distilled.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor

from baselines.distillation import DISTILLATION_IMAGES, DISTILLATION_PLAN, DistillationTrainee
from baselines.generators import held_out_loss
from baselines.layouts import load_published
from baselines.sparse_var import Selection, SparseVARNetwork, Sparsity, network_config
from baselines.tokenizers.recipes import load_tokenizer, new_tokenizer
from baselines.tokenizers.vq import Tokenizer
from baselines.training import training_tokens
from baselines.var import VAR, NextScale, Run, VARNetwork
from baselines.var_presets import VAR_PRESETS
from harness.checkpoints.published import must_be_there
from harness.checkpoints.tensors import Uninitialised, read_weights
from harness.hashing import sha256
from harness.method import Knob, KnobValue, Preset
from harness.sampling import Sampling
from harness.training.loop import Plan, Trainee
from harness.training.recipe import Context, Recipe

FFN_SPARSITY = Knob(
    "ffn_sparsity",
    "float",
    0.0,
    "share of the FFN not computed in the sparse scales",
    low=0,
    high=1,
    open_high=True,
    axis=True,
)
TOKEN_SPARSITY = Knob(
    "token_sparsity",
    "float",
    0.0,
    "share of tokens not computed in the sparse scales",
    low=0,
    high=1,
    open_high=True,
    axis=True,
)
SPARSE_SCALES = Knob("sparse_scales", "int", 2, "how many of the last scales are sparse", low=1, high=6)
FFN_TILT = Knob(
    "ffn_tilt",
    "float",
    0.0,
    "how unevenly ffn_sparsity is spread: sparse scales keep shares of their FFNs in proportion to tokens^ffn_tilt",
    low=0,
    high=4,
)
SPARSE = {"rank": 16, "experts": 12, "own_blocks": True}
SPARSE_IMAGENET = {"rank": 64, "experts": 16, "own_blocks": False}
IMAGENET_KNOBS = (replace(SPARSE_SCALES, default=3, high=10),)
CALIBRATION_TOKENS = 2000 * 104
"""The number of tokens used for calibration: 2,000 images of ``fmnist`` have as many."""


class SparseVAR(NextScale):
    """A trained VAR that skips a part of its computation."""

    knobs: ClassVar[tuple[Knob, ...]] = (FFN_SPARSITY, TOKEN_SPARSITY, SPARSE_SCALES, FFN_TILT)
    presets: ClassVar[Mapping[str, Preset]] = {
        name: replace(preset, network={**preset.network, **SPARSE})
        if name == "fmnist"
        else replace(preset, network={**preset.network, **SPARSE_IMAGENET}, weights="", knobs=IMAGENET_KNOBS)
        for name, preset in VAR_PRESETS.items()
    }
    layer: SparseVARNetwork  # holds selections and light paths

    @classmethod
    @abstractmethod
    def selections(cls, preset: Preset) -> list[Selection]:
        """One ``Selection`` for each block. The ``Selection`` chooses the tokens and FFN units that are computed."""

    @classmethod
    @abstractmethod
    def order_units(cls, backbone: VARNetwork, preset: Preset, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """For each block, a permutation of the hidden units of the block's FFN, [layers, hidden].

        ``SparseVARNetwork.arrange`` puts the units in this order.

        inputs: (seen, labels) of training images. ``seen`` is VAR's input for these images, [B, positions - 1, C].
        ``MultiScaleQuantiser.inputs`` computes ``seen`` from the images' tokens.
        """

    @classmethod
    def score_tokens(cls, backbone: VARNetwork, selections: list[Selection], inputs: tuple[Tensor, Tensor]) -> None:
        """Set the token scores that the selections have at the start of distillation. By default nothing is set."""

    @classmethod
    def same_as(cls, knobs: Mapping[str, KnobValue], preset: str) -> tuple[str, dict[str, KnobValue]] | None:
        """``var`` if the method gives the same tokens as ``var``, else None.

        The tokens can be the same only at zero sparsity. At zero sparsity every scale runs ``var``'s blocks.

        If the sparse scales have blocks of their own, ``var``'s blocks are unchanged, so the tokens are the same. If
        the sparse scales have no blocks of their own, the hidden units of ``var``'s blocks have been put in another
        order. A sum over the units is then rounded differently, so tokens can differ.
        """
        dense = knobs[FFN_SPARSITY.name] == knobs[TOKEN_SPARSITY.name] == 0
        return (VAR.name, {}) if dense and cls.preset_named(preset).network["own_blocks"] else None

    @classmethod
    def new_layer(cls, preset: Preset, backbone: VARNetwork) -> SparseVARNetwork:
        """What makes ``backbone`` sparse: a selection and a light path for each block, with random weights.

        A selection chooses the tokens and FFN units that are computed. A light path is a cheap map. It replaces the
        block for the tokens that are not selected.
        """
        own = network_config(preset.network)[1]
        return SparseVARNetwork(backbone, cls.selections(preset), own["rank"], own["own_blocks"])

    @classmethod
    def new_network(cls, preset: Preset) -> VARNetwork:
        return VARNetwork(**network_config(preset.network)[0])

    @classmethod
    def weight_files(cls, preset: str) -> tuple[Path, ...]:
        return cls.bundled_weights(preset), *VAR.weight_files(preset)

    def __init__(
        self,
        preset: Preset,
        tokenizer: Tokenizer,
        network: VARNetwork,
        weights: Mapping[str, str],
        layer: SparseVARNetwork,
    ) -> None:
        super().__init__(preset, tokenizer, network, weights)
        self.layer = layer.eval()
        if not layer.own:  # own blocks are arranged already when they are saved
            self.layer.arrange()

    @classmethod
    def build(cls, preset: str) -> Self:
        found = cls.preset_named(preset)
        network = cls.new_network(found)
        return cls(found, new_tokenizer(found.tokenizer), network, {}, cls.new_layer(found, network))

    @classmethod
    def load(cls, preset: str, checkpoint: Path | None = None) -> Self:
        """Load selections and light paths from ``checkpoint``, by default the bundled file.

        The backbone has var's weights, bundled or published.
        """
        found = cls.preset_named(preset)
        bundled = cls.weight_files(preset)
        path = checkpoint or bundled[0]
        must_be_there(bundled[1:], f"{cls.name}/{preset}", cls.weight_sources(preset))
        with Uninitialised():
            network = cls.new_network(found)
        load_published(bundled[1], network, cls.layout)
        layer = cls.new_layer(found, network)
        read_weights(path, layer)
        hashes = {file.name: sha256(file) for file in (path, *bundled[1:])}
        return cls(found, load_tokenizer(found.tokenizer), network, hashes, layer)

    def runs(self, knobs: Mapping[str, KnobValue], branches: int, images: int) -> Sequence[Run]:
        sparsity = Sparsity.of(knobs, branches)
        return self.table((sparsity, images), lambda: self.layer.runs(sparsity, images))

    def pack(self) -> None:
        # The units that are computed then lie side by side in memory, in the second layer as in the first.
        for block in self.layer.blocks:
            block.ffn.fc2.weight.data = block.ffn.fc2.weight.data.t().contiguous().t()

    def closed_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        branches = 1 + sampling.guided
        blocks = {part: branches * macs for part, macs in self.layer.macs(Sparsity.of(knobs)).items()}
        return self.dense_macs(sampling) | blocks

    @classmethod
    def recipe(
        cls, preset: str = "fmnist", plan: Plan = DISTILLATION_PLAN, images: int | None = DISTILLATION_IMAGES
    ) -> Recipe:
        """The recipe that distils this method from ``var``'s weights.

        images: how many training images are used, counted from the first image; None for all images.
        """
        return Recipe(
            name=f"{cls.name}-{preset}",
            weights=cls.bundled_weights(preset),
            plan=plan,
            prepare=partial(cls._prepare, preset, plan, images),
            export=lambda trainee: trainee.student,  # type: ignore[arg-type, return-value]
            figures=partial(held_out_loss, cls, preset),
            needs=(f"var-{preset}",),
        )

    @classmethod
    def _prepare(
        cls, preset: str, plan: Plan, images: int | None, context: Context
    ) -> tuple[Trainee, Sequence[Tensor]]:
        teacher = VAR.load(preset, context.teacher).to(context.device)
        found = cls.preset_named(preset)
        tokens, labels = training_tokens(found.tokenizer, context)
        last = slice(-min(CALIBRATION_TOKENS // tokens.shape[1], len(tokens)), None)
        seen = teacher.quantiser.inputs(tokens[last].long().to(context.device)).detach()
        calibration = seen, labels[last].to(context.device)
        layer = cls.new_layer(found, teacher.network).to(context.device)
        cls.score_tokens(teacher.network, list(layer.selections), calibration)
        layer.unit_order.copy_(cls.order_units(teacher.network, found, calibration))
        layer.arrange()
        columns = (tokens[:images], labels[:images])
        return DistillationTrainee(layer, teacher.tokenizer, plan.steps(len(columns[0]))), columns
