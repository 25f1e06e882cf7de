"""Next-set prediction as a method (EAR, arXiv 2511.15499): schedules and sampling, in any order of the token grid.

The network, and what its tokens attend to, are in ``baselines.next_set_network``.

A sampling step decodes one part. Its input is the real tokens of the part before, and the mask tokens of the part to be
decoded. The key and value of a mask token lie in the cache slot of its place. They stay there until the key and value
of the real token overwrite them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from baselines import adaptive
from baselines.layouts import EAR, Layout
from baselines.llama import Slots
from baselines.next_set_network import NextSetNetwork
from baselines.schedules import SCHEDULES, parts
from baselines.single_scale import SingleScale
from harness.errors import ArbenchError
from harness.method import Generated, Knob, KnobValue, Preset
from harness.sampling import Sampling, draw, guide
from harness.setup import SMALL_IMAGES_COMPUTE_BATCH, Setup

STEPS = Knob("steps", "int", 13, "decode length: sequential network evaluations", low=1, high=49, axis=True)
SCHEDULE = Knob(
    "schedule", "choice", "growing", "part sizes: rings (7 steps), half-rings (13), growing or equal", choices=SCHEDULES
)
ADAPTIVE = Knob(
    "adaptive",
    "float",
    0.0,
    "accept the longest prefix of a ring whose predicted entropy is at most this many nats; 0 is off, then steps and "
    "schedule count",
    low=0,
    high=300,
    axis=True,
)


@dataclass(frozen=True)
class _Part:
    """What the step that decodes one part needs, on the network's device.

    The step feeds two kinds of tokens, in this order: the real tokens of the part before, and this part's mask tokens.
    A row's slots are: slot 0 for the class, slot 1 + p for the p-th place in order.
    """

    places: Tensor  # [m], the places that the step decodes, as indices of the grid in raster order
    rope: Tensor  # [1, fed + m, head_dim / 2, 2], the rotations of all tokens that are fed
    slots: Slots  # where all tokens that are fed write and attend

    @classmethod
    def of(cls, net: NextSetNetwork, before: int, start: int, end: int) -> "_Part":
        """The part of the slots from ``start`` to ``end`` - 1; ``before`` is the first slot of the part before."""
        like = net.norm.weight
        hidden = torch.arange(end, device=like.device) >= start
        real = torch.zeros(end, device=like.device, dtype=like.dtype).masked_fill(hidden, -torch.inf)
        bias = torch.cat([real.expand(start - before, -1), torch.zeros_like(real).expand(end - start, -1)])
        return cls(net.order[start - 1 : end - 1], net.rope[None, before:end], Slots(end, None, bias[None, None]))


class NextSet(SingleScale):
    """Next-set prediction: the base class of EAR and the order controls."""

    knobs: ClassVar[tuple[Knob, ...]] = (STEPS, SCHEDULE)
    weights_folder: ClassVar[Path] = Path(__file__).parent / "weights"
    layout: ClassVar[Layout] = EAR
    network: NextSetNetwork

    @classmethod
    def new_network(cls, preset: Preset) -> NextSetNetwork:
        return NextSetNetwork(**preset.network)

    def sizes(self, knobs: Mapping[str, KnobValue]) -> list[int]:
        """The part sizes that ``steps`` and ``schedule`` ask for."""
        return parts(str(knobs["schedule"]), self.positions, int(knobs["steps"]))

    def schedule(self, knobs: Mapping[str, KnobValue]) -> list[list[int]]:
        order = self.network.order.tolist()
        ends = np.cumsum([0, *self.sizes(knobs)])
        return [order[start:end] for start, end in zip(ends, ends[1:], strict=False)]

    @torch.inference_mode()
    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        branches, threshold = self.branches(labels, sampling), float(knobs.get("adaptive", 0.0))
        if threshold:
            return adaptive.sample(self.network, branches, noise, threshold, sampling)
        net, parts = self.network, self._parts(knobs)
        condition = net.cls_embedding(branches)
        cache, modulations = net.new_cache(len(condition), self.positions + 1), net.modulations(condition)
        fed, drawn = condition[:, None], []
        for step, part in enumerate(parts):
            count = len(part.places)
            x = torch.cat([fed, net.mask_token.expand(len(condition), count, -1)], 1)
            out = net.run(x, part.rope, modulations, store=(cache, part.slots))
            heads = out[:, -count:].contiguous()  # for a slice, torch would copy the head's weights for every row
            logits = guide(net.output(heads), sampling, step, len(parts))
            drawn.append(draw(logits, noise.index_select(1, part.places), sampling))
            fed = net.tok_embeddings(drawn[-1]).repeat(len(condition) // len(labels), 1, 1)
        return Generated(torch.cat(drawn, 1)[:, net.order.argsort()], torch.full_like(labels, len(parts)))

    def captures(self, knobs: Mapping[str, KnobValue]) -> bool:
        return not knobs.get("adaptive")

    def _parts(self, knobs: Mapping[str, KnobValue]) -> list[_Part]:
        """What each step needs."""
        sizes = tuple(self.sizes(knobs))
        ends = list(accumulate(sizes, initial=1))
        return self.table(
            sizes, lambda: [_Part.of(self.network, *slots) for slots in zip([0, *ends], ends, ends[1:], strict=False)]
        )

    def steps(self, knobs: Mapping[str, KnobValue]) -> list[tuple[int, int, int]]:
        if knobs.get("adaptive"):
            raise ArbenchError("adaptive decoding has no closed form: its steps depend on what is generated")
        steps, before, filled = [], 1, 1
        for size in self.sizes(knobs):
            steps.append((before + size, filled + size, size))
            before, filled = size, filled + size
        return steps


def next_set_preset(order: str) -> dict[str, Preset]:
    """The ``fmnist`` preset for one order of the places. Presets of different orders are otherwise the same."""
    config = {"vocabulary": 512, "grid": 7, "classes": 10, "dim": 96, "layers": 4, "heads": 4, "order": order}
    setup = Setup(compute_batch=SMALL_IMAGES_COMPUTE_BATCH)
    return {"fmnist": Preset("fmnist", "fmnist", "vq-fmnist", config, Sampling(cfg=1.5), 10, (1, 28, 28), setup=setup)}
