"""Raster AR: LlamaGen's next-token prediction, row by row (arXiv 2406.06525, section 2.2)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.layouts import FILES, LLAMAGEN, Layout
from baselines.llama import Slots, Trunk
from baselines.single_scale import SingleScale
from baselines.training import drop_class
from harness.method import Generated, KnobValue, Loop, Preset
from harness.sampling import Sampling, draw, guide, guide_by
from harness.setup import SMALL_IMAGES_COMPUTE_BATCH, Setup


class RasterNetwork(Trunk):
    """A causal network: [class, t_0 .. t_{T-2}] -> logits of t_0 .. t_{T-1}."""

    def __init__(self, **config: Any) -> None:
        super().__init__(adaln=False, **config)

    def logits(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Teacher-forced: tokens [B, T], labels [B] -> logits [B, T, V].

        A label is a class from 0 to ``classes`` - 1, or the number ``classes``, which means "no class".
        """
        x = torch.cat([self.cls_embedding(labels)[:, None], self.tok_embeddings(tokens[:, :-1])], 1)
        length = x.shape[1]
        bias = torch.full((length, length), -torch.inf, device=x.device).triu(1)
        out: Tensor = self.output(self.run(x, self.rope[None, :length], [None] * len(self.layers), bias))
        return out

    def loss(self, tokens: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean cross-entropy per token, in nats."""
        logits = self.logits(tokens, drop_class(labels, self.classes, generator))
        return {"loss": F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten())}


SIZES = {
    "b": (768, 12, 12, 2.0),
    "l": (1024, 24, 16, 2.0),
    "xl": (1280, 36, 20, 1.75),
    "xxl": (1536, 48, 24, 1.75),
    "3b": (3200, 24, 32, 1.65),
}
"""LlamaGen's models: width, layers, heads, and the guidance that the authors use."""


def imagenet_preset(size: str, pixels: int) -> Preset:
    """The preset of a published LlamaGen model that makes images of ``pixels`` x ``pixels``.

    A model with ``pixels`` 256 has 16x16 tokens per image. A model with ``pixels`` 384 has 24x24 tokens per image.

    Images of 384x384 are resized to 256x256 for evaluation. Labels are drawn at random, as the authors do. To turn a
    value x in [-1, 1] into a byte, the authors truncate 127.5 x + 128. The preset's rule ``round`` rounds
    127.5 x + 127.5 to the nearest integer. Both ways give the same byte.
    """
    dim, layers, heads, cfg = SIZES[size]
    file = f"c2i_{size.upper()}_{pixels}.pt"
    return Preset(
        name=f"imagenet{pixels}-{size}",
        data="imagenet256",
        tokenizer="vq_ds16" if pixels == 256 else f"vq_ds16-{pixels}",
        network={
            "vocabulary": 16384,
            "grid": pixels // 16,
            "classes": 1000,
            "dim": dim,
            "layers": layers,
            "heads": heads,
            "multiple_of": 256,
        },
        sampling=Sampling(cfg=cfg),
        classes=1000,
        image=(3, 256, 256),
        notes="" if pixels == 256 else f"decoded at {pixels}x{pixels}, resized to 256x256 by bicubic interpolation",
        weights=file if file in FILES else "",
        setup=Setup(labels="random", compute_batch=64),
    )


class Raster(SingleScale):
    """Raster AR (LlamaGen)."""

    name: ClassVar[str] = "raster"
    title: ClassVar[str] = "Raster AR"
    family: ClassVar[str] = "raster"
    paper: ClassVar[str] = "Sun et al., arXiv 2406.06525 (LlamaGen)"
    differences: ClassVar[str] = (
        "next-token, raster order, causal; LlamaGen block without adaLN, so more layers for the same parameters"
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "fmnist": Preset(
            name="fmnist",
            data="fmnist",
            tokenizer="vq-fmnist",
            network={"vocabulary": 512, "grid": 7, "classes": 10, "dim": 96, "layers": 6, "heads": 4},
            sampling=Sampling(cfg=1.5),
            classes=10,
            image=(1, 28, 28),
            setup=Setup(compute_batch=SMALL_IMAGES_COMPUTE_BATCH),
        ),
        **{
            preset.name: preset for pixels in (256, 384) for preset in (imagenet_preset(size, pixels) for size in SIZES)
        },
    }
    weights_folder: ClassVar[Path] = Path(__file__).parent / "weights"
    layout: ClassVar[Layout] = LLAMAGEN
    network: RasterNetwork

    @classmethod
    def new_network(cls, preset: Preset) -> RasterNetwork:
        return RasterNetwork(**preset.network)

    def schedule(self, knobs: Mapping[str, KnobValue]) -> list[list[int]]:
        return [[place] for place in range(self.positions)]

    @torch.inference_mode()
    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        if labels.device.type != "cpu":
            # Not self.loop: a subclass with a ``sample`` of its own, which calls this one, has no loop.
            return _Steps(self, labels, noise, sampling).loop().run()
        # On a CPU a step attends to no more slots than are filled. The loop attends to some that are not.
        net, total = self.network, self.positions
        condition = self.branches(labels, sampling)
        cache = net.new_cache(len(condition), total)
        x = net.cls_embedding(condition)[:, None]
        tokens: list[Tensor] = []
        for place in range(total):
            turn = net.rope[None, place : place + 1]
            out = net.run(x, turn, [None] * len(net.layers), store=(cache, Slots(place + 1)))
            logits = guide(net.output(out[:, 0]), sampling, place, total)
            tokens.append(draw(logits, noise[:, place], sampling))
            x = net.tok_embeddings(tokens[-1].repeat(len(condition) // len(labels)))[:, None]
        return Generated(torch.stack(tokens, 1), torch.full_like(labels, total))

    def loop(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Loop:
        return _Steps(self, labels, noise, sampling).loop()

    def steps(self, knobs: Mapping[str, KnobValue]) -> list[tuple[int, int, int]]:
        return [(1, place + 1, 1) for place in range(self.positions)]


REACH = 32
"""The number of slots to which a step of a loop attends is rounded up to a multiple of this. A loop of 256 steps then
has 8 kinds of steps, and a step reads 16 empty slots on average."""


class _Steps:
    """The state of a loop, on the device: everything that a step reads and writes."""

    def __init__(self, method: Raster, labels: Tensor, noise: Tensor, sampling: Sampling) -> None:
        net, self.total = method.network, method.positions
        self.method, self.net, self.labels, self.noise, self.sampling = method, net, labels, noise, sampling
        self.branches = 1 + sampling.guided
        rows = len(labels) * self.branches
        self.cache = net.new_cache(rows, self.total)
        self.x = net.norm.weight.new_zeros(rows, 1, net.dim)  # the token that the next step feeds
        self.place = labels.new_zeros(1)  # the place that the next step decodes
        self.tokens = labels.new_zeros(len(labels), self.total)
        scales = [sampling.scale(place, self.total) for place in range(self.total)]
        self.scales = method.table(tuple(scales), lambda: torch.tensor(scales, device=labels.device))

    def loop(self) -> Loop:
        """The loop; the kind of a step is the number of slots to which it attends."""
        kinds = [min(self.total, -(-(place + 1) // REACH) * REACH) for place in range(self.total)]
        return Loop(kinds, self.begin, self.step, self.result, unpadded=range(1, self.total + 1))

    def begin(self) -> None:
        condition = self.net.cls_embedding(self.method.branches(self.labels, self.sampling))
        self.x.copy_(condition[:, None])
        self.place.zero_()

    def step(self, reach: int) -> None:
        net, place = self.net, self.place
        empty = torch.arange(reach, device=place.device) > place
        bias = torch.zeros(reach, device=place.device, dtype=self.x.dtype).masked_fill(empty, -torch.inf)
        slots = Slots(reach, place.expand(len(self.x), 1), bias[None, None, None])
        rope = net.rope.index_select(0, place)[None]
        out = net.run(self.x, rope, [None] * len(net.layers), store=(self.cache, slots))
        logits = net.output(out[:, 0])
        guided = guide_by(logits, self.scales.index_select(0, place)) if self.sampling.guided else logits
        drawn = draw(guided, self.noise.index_select(1, place)[:, 0], self.sampling)
        self.tokens.index_copy_(1, place, drawn[:, None])
        self.x.copy_(net.tok_embeddings(drawn.repeat(self.branches))[:, None])
        place.add_(1)

    def result(self) -> Generated:
        return Generated(self.tokens.clone(), torch.full_like(self.labels, self.total))
