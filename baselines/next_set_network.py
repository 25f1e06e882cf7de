"""Next-set prediction with two streams (EAR, arXiv 2511.15499; facts/METHODS.md), in any order of the places.

A place is a cell of the token grid. A schedule cuts the order into parts. The training sequence is
[class, real tokens in order, mask tokens in order]. A mask token predicts the token at its place. This is what tokens
attend to:
 - A real token of part i sees the class and the real tokens of parts <= i.
 - A mask token of part i sees the class, the real tokens of parts < i and the mask tokens of part i.

Our own choices:
 - EAR's training sequence has the class token twice: at the start, and before the mask tokens. Our sequence has it only
   at the start, because no token would attend to the second class token.
 - Every training step draws another schedule, so that one set of weights serves every number of steps.
 - A token gets the 2-D RoPE of its place, whatever the order.

The published EAR weights were trained with another RoPE (``rope="index"``). There the i-th token *in order* is rotated
like the i-th place of the *raster*. The rotation then does not show where the token lies.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.llama import Trunk
from baselines.schedules import ORDERS, random_parts
from baselines.training import drop_class


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
