"""Static pruning of VAR: the least important FFN units and tokens are removed, the same ones for every image.

The paper of ActVAR claims that ActVAR beats static pruning. The method in this module is a control that tests the
claim. The design of the control is ours.

The importance of a unit is the mean size of what the unit adds to the block's output, over training images. The
importance of a token is the mean size of the update that the block makes to the token.

For a removed token, a light path replaces the block. The light path is a cheap map, distilled as in ActVAR. The light
path reconstructs the update that the block would have made to the token. Without a light path the whole update would
be lost, and ActVAR would beat the control too easily.
"""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.gelu import by_rows, gelu
from baselines.sparse_method import SparseVAR
from baselines.sparse_var import PartialFFN, Selection, Shape, Sparsity
from baselines.var import FFN, Block, VARNetwork, modulated
from harness.method import Preset


class PrunedFFN(nn.Module):
    """An FFN of which only the first units are computed. For sampling: it has no gradient."""

    part = "ffn"

    def __init__(self, ffn: FFN, kept: int) -> None:
        super().__init__()
        self.up, self.up_bias = ffn.fc1.weight.detach()[:kept], ffn.fc1.bias.detach()[:kept]
        self.down, self.down_bias = ffn.fc2.weight.detach()[:, :kept], ffn.fc2.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        return by_rows(self._rows, x)

    def _rows(self, x: Tensor) -> Tensor:
        return F.linear(gelu(F.linear(x, self.up, self.up_bias)), self.down, self.down_bias)


class StaticSelection(Selection):
    """Selects the most important FFN units and token positions.

    Units are sorted by importance, so the first units are selected.
    """

    token_scores: Tensor

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.register_buffer("token_scores", torch.arange(positions, 0, -1).float())

    def partial_ffn(self, block: Block, shape: Shape) -> PartialFFN:
        pruned = PrunedFFN(block.ffn, shape.sparsity.kept_units(block.ffn.fc1.out_features))
        return lambda x, places: pruned(x)

    def unit_mask(self, x: Tensor, places: Tensor, selected: Tensor, span: slice, sparsity: Sparsity) -> Tensor:
        hidden = 4 * x.shape[-1]
        return (
            (torch.arange(hidden, device=x.device) < sparsity.kept_units(hidden)).to(x.dtype).expand(*x.shape[:2], -1)
        )

    def ffn_macs(self, dim: int, hidden: int, tokens: int, sparsity: Sparsity) -> dict[str, float]:
        return {"ffn": tokens * 2 * dim * sparsity.kept_units(hidden)}


class VARStatic(SparseVAR):
    """Control: static pruning of units and tokens."""

    name: ClassVar[str] = "var-static"
    title: ClassVar[str] = "VAR, static pruning"
    family: ClassVar[str] = "sparsity control"
    paper: ClassVar[str] = "control of arbench"
    differences: ClassVar[str] = (
        "VAR's weights; least important units and tokens removed for good; light path trained alike"
    )
    weights_folder: ClassVar[Path] = Path(__file__).parent / "weights"

    @classmethod
    def selections(cls, preset: Preset) -> list[Selection]:
        positions = sum(side * side for side in preset.network["scales"])
        return [StaticSelection(positions) for _ in range(preset.network["layers"])]

    @classmethod
    def order_units(cls, backbone: VARNetwork, preset: Preset, inputs: tuple[Tensor, Tensor]) -> Tensor:
        return importances(backbone, inputs)[0].argsort(1, descending=True)

    @classmethod
    def score_tokens(cls, backbone: VARNetwork, selections: list[Selection], inputs: tuple[Tensor, Tensor]) -> None:
        for selection, scores in zip(selections, importances(backbone, inputs)[1], strict=True):
            assert isinstance(selection, StaticSelection)
            selection.token_scores.copy_(scores)


@torch.inference_mode()
def importances(net: VARNetwork, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The importance of every hidden unit [layers, hidden] and of every token position [layers, positions].

    inputs: (seen, labels) of training images. ``seen`` is VAR's input for these images, [B, positions - 1, C].
    ``MultiScaleQuantiser.inputs`` computes ``seen`` from the images' tokens.
    """
    seen, labels = inputs
    condition = net.class_emb(labels)
    x, bias = net.embed(seen, condition, slice(0, net.lvl_1L.shape[1])), net.causal()
    units, places = [], []
    for block, modulation in zip(net.blocks, net.modulations(condition), strict=True):
        gamma1, gamma2, scale1, scale2, shift1, shift2 = modulation
        attended = x + gamma1 * block.attn.read(*block.attn.all_three(modulated(x, scale1, shift1)), bias)
        hidden = gelu(block.ffn.fc1(modulated(attended, scale2, shift2)))
        weight = (gamma2.square() @ block.ffn.fc2.weight.square()).sqrt()
        out = attended + gamma2 * block.ffn.fc2(hidden)
        units.append((hidden.abs() * weight).mean((0, 1)))
        places.append((out - x).norm(dim=-1).mean(0))
        x = out
    return torch.stack(units), torch.stack(places)
