"""Next-set prediction with two streams (EAR, arXiv 2511.15499; facts/METHODS.md), in any order of the places.

A place is a cell of the token grid. A schedule cuts the order into parts. The training sequence is
[class, real tokens in order, mask tokens in order]. A mask token predicts the token at its place. This is what tokens
attend to:
 - A real token of part i sees the class and the real tokens of parts <= i.
 - A mask token of part i sees the class, the real tokens of parts < i and the mask tokens of part i.

A sampling step decodes one part. Its input is the real tokens of the part before, and the mask tokens of the part to be
decoded. The key and value of a mask token lie in the cache slot of its place. They stay there until the key and value
of the real token overwrite them.

Our own choices:
 - EAR's training sequence has the class token twice: at the start, and before the mask tokens. Our sequence has it only
   at the start, because no token would attend to the second class token.
 - Every training step draws another schedule, so that one set of weights serves every number of steps.
 - A token gets the 2-D RoPE of its place, whatever the order.

The published EAR weights were trained with another RoPE (``rope="index"``). There the i-th token *in order* is rotated
like the i-th place of the *raster*. The rotation then does not show where the token lies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layouts import EAR, Layout
from baselines.llama import Cache, Slots, Trunk
from baselines.schedules import ORDERS, SCHEDULES, parts, random_parts
from baselines.single_scale import SingleScale
from baselines.training import drop_class
from harness import traces
from harness.errors import ArbenchError
from harness.method import Generated, Knob, KnobValue, Preset
from harness.sampling import Sampling, draw, guide

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


class NextSetNetwork(Trunk):
    """LlamaGen's trunk with one mask embedding. It has adaLN too, if ``adaln`` is true.

    order: name of the order in which places are decoded (a key of ``ORDERS``)
    rope: ``place`` rotates a token by its place; ``index`` rotates the i-th token in order as if it lay at place i, as
        in the published EAR weights
    """

    order: Tensor

    def __init__(self, order: str, rope: str = "place", adaln: bool = True, **config: Any) -> None:
        super().__init__(adaln=adaln, **config)
        self.mask_token = nn.Parameter(torch.randn(1, 1, self.dim) * 0.02)
        self.register_buffer("order", torch.tensor(ORDERS[order](self.grid)), persistent=False)
        places = self.rope[1:][self.order] if rope == "place" else self.rope[1:]
        self.rope = torch.cat([self.rope[:1], places, torch.zeros_like(places[:1])])  # last, the slot for padding

    def logits(self, tokens: Tensor, labels: Tensor, sizes: list[int]) -> Tensor:
        """Teacher-forced logits [B, T, V], in raster order.

        tokens: [B, T], in raster order; sizes: the number of places in each part.
        labels: [B], a class from 0 to ``classes`` - 1, or the number ``classes``, which means "no class".
        """
        total = tokens.shape[1]
        condition = self.cls_embedding(labels)
        real = self.tok_embeddings(tokens[:, self.order])
        x = torch.cat([condition[:, None], real, self.mask_token.expand(len(tokens), total, -1)], 1)
        rope = torch.cat([self.rope[: total + 1], self.rope[1 : total + 1]])[None]
        part = torch.repeat_interleave(torch.arange(1, len(sizes) + 1), torch.tensor(sizes)).to(x.device)
        own = torch.cat([part.new_zeros(1), part, part])
        masked = torch.arange(2 * total + 1, device=x.device) > total
        sees_real = ~masked & (own[None, :] <= (own - masked.long())[:, None])
        sees_mask = masked & masked[:, None] & (own[None, :] == own[:, None])
        bias = torch.zeros(sees_real.shape, device=x.device).masked_fill(~(sees_real | sees_mask), -torch.inf)
        out = self.output(self.run(x, rope, self.modulations(condition), bias)[:, total + 1 :])
        return out[:, self.order.argsort()]

    def loss(self, tokens: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean cross-entropy per token, in nats, on one random schedule."""
        seed = int(torch.randint(2**31, (), generator=generator))
        sizes = random_parts(tokens.shape[1], np.random.default_rng(seed))
        logits = self.logits(tokens, drop_class(labels, self.classes, generator), sizes)
        return {"loss": F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten())}


@dataclass
class _Rows:
    """The rows of a batch that are still being decoded, and how many slots of each row are done.

    A row has slots: slot 0 for the class, slot 1 + p for the p-th place in order, the last slot for padding.
    """

    index: Tensor  # [A], the index of each of the A rows in the whole batch
    known: Tensor  # [A, slots], tokens
    # fed and filled are [A], or [1] if all rows are alike; they are on the CPU, since the loop depends on them
    fed: Tensor  # how many slots hold final keys and values
    filled: Tensor  # how many slots have their final token; the class counts


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
        net, total = self.network, self.positions
        threshold = float(knobs.get("adaptive", 0.0))
        if threshold and sampling.cfg_schedule != "constant":
            raise ArbenchError("adaptive decoding needs cfg_schedule = constant: how many steps it takes is not known")
        sizes = [0] * total if threshold else self.sizes(knobs)
        condition = net.cls_embedding(self.branches(labels, sampling))
        cache, modulations = net.new_cache(len(condition), total + 2), net.modulations(condition)
        alike = 1 if not threshold else len(labels)
        rows = _Rows(
            torch.arange(len(labels), device=labels.device),
            labels.new_zeros(len(labels), total + 2),
            torch.zeros(alike, dtype=torch.int64, device="cpu"),
            torch.ones(alike, dtype=torch.int64, device="cpu"),
        )
        tokens, steps = torch.zeros_like(rows.known[:, 1:-1]), torch.zeros_like(labels)
        decided = torch.zeros_like(tokens) if threshold and traces.heard() else None
        for step, size in enumerate(sizes):
            ends = _ring_ends(rows.filled) if threshold else rows.filled + size
            logits, slots = self._step(rows, cache, modulations, condition, ends)
            logits = guide(logits, sampling, step, len(sizes))
            place = (slots - 1).clamp(max=total - 1)
            drawn = draw(logits, noise[rows.index].gather(1, net.order[place].expand(len(rows.index), -1)), sampling)
            rows.known.scatter_(1, slots.expand_as(drawn), drawn)
            if threshold:
                ends = torch.minimum(ends, rows.filled + _prefix(logits, threshold).cpu())
            if decided is not None:  # counts, for each place, the steps that leave it undecided
                decided[rows.index] += (torch.arange(1, total + 1) >= ends[:, None]).to(decided)
            rows.fed, rows.filled = rows.filled, ends
            steps[rows.index] += 1
            tokens[rows.index] = rows.known[:, 1:-1]
            going = (rows.filled <= total).expand(len(rows.index))
            if not going.any():
                break
            if threshold and not going.all():
                rows = _Rows(rows.index[going], rows.known[going], rows.fed[going], rows.filled[going])
                branches = going.repeat(1 + sampling.guided)
                cache.keep(branches)
                condition = condition[branches]
                modulations = [layer and [m[branches] for m in layer] for layer in modulations]
        if decided is not None:
            traces.tell_order(decided[:, net.order.argsort()])
        return Generated(tokens[:, net.order.argsort()], steps)

    def _step(
        self, rows: _Rows, cache: Cache, modulations: list[list[Tensor] | None], condition: Tensor, ends: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate the network once. Each row has mask tokens in the slots from ``rows.filled`` to ``ends`` - 1.

        Returns two tensors: the logits of the m mask tokens, [rows of all branches, m, V], and the slots of the mask
        tokens. The slots are [A, m] for the A rows in ``rows``, or [1, m] if all rows are alike.
        """
        net, total = self.network, self.positions
        padding, branches = total + 1, len(condition) // len(rows.index)
        device = condition.device
        before = rows.fed[:, None] + torch.arange(int((rows.filled - rows.fed).max()), device="cpu")
        before = before.masked_fill(before >= rows.filled[:, None], padding)
        masks = rows.filled[:, None] + torch.arange(int((ends - rows.filled).max()), device="cpu")
        masks = masks.masked_fill(masks >= ends[:, None], padding)
        reach = min(int(masks.max()) + 1, padding)
        if int(rows.fed.max()) == 0:
            real = condition[:, None]
        else:
            known = rows.known.gather(1, before.to(device).expand(len(rows.known), -1))
            real = net.tok_embeddings(known).repeat(branches, 1, 1)
        x = torch.cat([real, net.mask_token.expand(len(condition), masks.shape[1], -1)], 1)
        index = torch.cat([before, masks], 1)
        limit = torch.cat([rows.filled[:, None].expand_as(before), ends[:, None].expand_as(masks)], 1)
        hidden = torch.arange(reach, device="cpu") >= limit[..., None]
        bias = torch.zeros(hidden.shape, device="cpu").masked_fill(hidden, -torch.inf)[:, None]
        index, bias, masks = index.to(device), bias.to(x), masks.to(device)
        slots = Slots(reach, None, bias)  # if rows are alike, nothing is padded: tokens write the last slots
        if len(index) > 1:
            index, bias = index.repeat(branches, 1), bias.repeat(branches, 1, 1, 1)
            slots = Slots(reach, index, bias)
        out = net.run(x, net.rope[index], modulations, store=(cache, slots))
        heads = out[:, before.shape[1] :].contiguous()  # for a slice, torch would copy the head's weights for every row
        return net.output(heads), masks

    def steps(self, knobs: Mapping[str, KnobValue]) -> list[tuple[int, int, int]]:
        if knobs.get("adaptive"):
            raise ArbenchError("adaptive decoding has no closed form: its steps depend on what is generated")
        steps, before, filled = [], 1, 1
        for size in self.sizes(knobs):
            steps.append((before + size, filled + size, size))
            before, filled = size, filled + size
        return steps


def _ring_ends(filled: Tensor) -> Tensor:
    """For each row, the first slot after the current ring.

    Ring k consists of the places k^2 to (k + 1)^2 - 1 in order. The current ring is the ring that contains the first
    place without a final token.

    filled: how many slots of each row have their final token, the class included.
    """
    return ((filled - 1).double().sqrt().floor().long() + 1) ** 2 + 1


def _prefix(logits: Tensor, threshold: float) -> Tensor:
    """The length of the longest prefix of tokens whose entropies sum up to at most ``threshold`` nats; at least 1.

    The tokens of the prefix are drawn independently. Some information is lost by this, but at most the sum of the
    tokens' entropies. logits: [A, n, V].
    """
    log_p = logits.log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    return (entropy.cumsum(1) <= threshold).sum(1).clamp(min=1)


def next_set_preset(order: str) -> dict[str, Preset]:
    """The ``fmnist`` preset for one order of the places. Presets of different orders are otherwise the same."""
    config = {"vocabulary": 512, "grid": 7, "classes": 10, "dim": 96, "layers": 4, "heads": 4, "order": order}
    return {"fmnist": Preset("fmnist", "fmnist", "vq-fmnist", config, Sampling(cfg=1.5), 10, (1, 28, 28))}
