"""ActVAR (arXiv 2511.12893), reimplemented from the abstract: no code and no details are public (facts/METHODS.md).

The abstract says:
 - The backbone of a pretrained VAR stays as it is.
 - Each FFN is decomposed into expert sub-networks. A learnable router picks some experts for each token, by content.
 - Each layer has a gated token selector. Unselected tokens are reconstructed.
 - A two-stage distillation from the dense VAR supervises routing and gating.

Every other choice is ours:
 - experts: 12 per block, 16 on ImageNet, by balanced k-means of fc1's rows (MoEfication, arXiv 2110.01786); all
   experts together are exactly the dense FFN;
 - router: linear, on the FFN's modulated input; each expert computes the tokens of the scale that have its highest
   scores, as many as the sparsity allows (``baselines.experts``), so one token can get more experts than another; the
   outputs of chosen experts are not weighted;
 - gate (the token selector): a token's score is a linear map of the attention's modulated input, plus a learned score
   of the token's position in the sequence; the score of a position starts as the mean size of the update that the
   dense block makes at this position, as in var-static; for an unselected token, only keys and values are computed, not
   the rest of the block;
 - reconstruction: a low-rank light path (``baselines.sparse_var``), trained to give the update of the whole block;
 - sparse scales: only the last scales are sparse, in all layers; the knob ``sparse_scales`` gives their number; all
   have the same sparsity, unless the knob ``ffn_tilt`` lets larger scales keep more (distillation does not use
   ``ffn_tilt``);
 - guidance: both branches of an image get the same tokens and experts, chosen by the mean of the branches' scores;
 - separate blocks: on ``fmnist`` the sparse scales do not use VAR's attention and FFN, but separate copies; the copies
   are trained in the last stage of distillation; adaLN is VAR's at all scales; the dense scales use VAR's blocks, and
   at zero sparsity all scales do;
 - losses, stages and schedule: see ``baselines.distillation``; router and gate learn from straight-through gradients of
   the distillation loss; the router also learns to predict the size of what each expert adds to the block's output (the
   expert's worth); the gate also learns to predict the distance between the light path's update and the full update
   of each token (the token's gain).
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.experts import ExpertSelection
from baselines.sparse_method import SparseVAR
from baselines.sparse_var import Selection, Sparsity
from baselines.var import VARNetwork
from baselines.var_static import importances
from harness.method import Preset


class LearnedSelection(ExpertSelection):
    """Selects tokens and experts by learned scores.

    A gate scores each token: a linear map of the input, plus a learned score of the token's position in the sequence. A
    linear router scores the experts for each token.
    """

    token_scores = None

    def __init__(self, dim: int, experts: int, positions: int) -> None:
        super().__init__()
        self.gate, self.router, self.experts = nn.Linear(dim, 1, bias=False), nn.Linear(dim, experts), experts
        self.place_scores = nn.Parameter(torch.ones(positions))
        nn.init.zeros_(self.gate.weight)

    def tokens(self, x: Tensor, places: Tensor) -> Tensor:
        scores: Tensor = self.gate(x)[..., 0] + self.place_scores[places]
        return scores

    def pair_scores(self, x: Tensor, places: Tensor) -> Tensor:
        scores: Tensor = self.router(x)
        return scores

    def gate_loss(self, x: Tensor, places: Tensor, gain: Tensor) -> Tensor:
        """Mean squared error of the gate's scores against each token's gain.

        places: the tokens' positions in the sequence, [n] or [B, n].
        gain: [B, n], the distance between the light path's update and the full update, scaled to 1 on average.
        """
        return F.mse_loss(self.tokens(x.detach(), places).float(), gain.float())

    def router_loss(self, x: Tensor, worth: Tensor) -> Tensor:
        """Mean squared error of the router's scores against the size of what each expert adds to the block's output.

        worth: [B, n, hidden], the squared size of what each hidden unit adds to the block's output.

        The size of what an expert adds is the square root of the sum of ``worth`` over the expert's hidden units. All
        sizes are then scaled to 1 on average.
        """
        size = worth.unflatten(-1, (self.experts, -1)).float().sum(-1).sqrt()
        return F.mse_loss(self.router(x.detach()).float(), size / size.mean())

    def ffn_macs(self, dim: int, hidden: int, tokens: int, sparsity: Sparsity) -> dict[str, float]:
        router = dim * self.experts * tokens if sparsity.kept_units(tokens) < tokens else 0
        return super().ffn_macs(dim, hidden, tokens, sparsity) | {"router": router}

    def token_macs(self, dim: int, tokens: int) -> float:
        return dim * tokens


def balanced_clusters(rows: np.ndarray, clusters: int, seed: int = 0, rounds: int = 20) -> list[int]:
    """An order of the rows in which clusters of equal size lie side by side.

    The clusters come from k-means. Every cluster has exactly ``len(rows) / clusters`` rows. In each round, rows are
    assigned to clusters of this size so that the sum of squared distances to the centres is smallest (scipy's linear
    assignment).
    """
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(seed)
    size = len(rows) // clusters
    centres = rows[rng.choice(len(rows), clusters, replace=False)]
    for _ in range(rounds):
        distance = ((rows[:, None] - centres[None]) ** 2).sum(-1)
        _, place = linear_sum_assignment(np.repeat(distance, size, axis=1))
        cluster = place // size
        centres = np.stack([rows[cluster == k].mean(0) for k in range(clusters)])
    return np.argsort(cluster, kind="stable").tolist()


class ActVAR(SparseVAR):
    """ActVAR: a router chooses experts, a gate chooses tokens, and a light path reconstructs the other tokens."""

    name: ClassVar[str] = "actvar"
    title: ClassVar[str] = "ActVAR"
    paper: ClassVar[str] = "arXiv 2511.12893 (ActVAR), reimplemented from the abstract"
    differences: ClassVar[str] = "VAR's weights; learned router over 12 FFN experts, learned token gate, light path"
    weights_folder: ClassVar[Path] = Path(__file__).parent / "weights"

    @classmethod
    def selections(cls, preset: Preset) -> list[Selection]:
        config = preset.network
        positions = sum(side * side for side in config["scales"])
        return [LearnedSelection(config["dim"], config["experts"], positions) for _ in range(config["layers"])]

    @classmethod
    def order_units(cls, backbone: VARNetwork, preset: Preset, inputs: tuple[Tensor, Tensor]) -> Tensor:
        experts = preset.network["experts"]
        return torch.tensor(
            [balanced_clusters(b.ffn.fc1.weight.detach().cpu().numpy(), experts) for b in backbone.blocks]
        )

    @classmethod
    def score_tokens(cls, backbone: VARNetwork, selections: list[Selection], inputs: tuple[Tensor, Tensor]) -> None:
        for selection, scores in zip(selections, importances(backbone, inputs)[1], strict=True):
            if isinstance(selection, LearnedSelection):
                selection.place_scores.data.copy_(scores / scores.mean())
