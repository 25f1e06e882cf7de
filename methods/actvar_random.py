"""ActVAR's control: tokens and experts are selected at random, where ActVAR learns the selection.

A block computes only some of the tokens, and only some of the experts for a token. Both are chosen by random scores.
The scores are drawn once, from a stated seed, for each block and each position in the sequence of tokens. The tokens
that a block does not compute get their update from the light path, a low-rank map.

Everything else is as in ActVAR: the experts, how many tokens and experts are computed, the light path and the
distillation. The light path is trained for the random choices, just as ActVAR's light path is trained for ActVAR's
choices.
"""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from baselines.experts import ExpertSelection
from baselines.sparse_var import Selection
from harness.method import Preset
from methods.actvar import ActVAR


class RandomSelection(ExpertSelection):
    """Selects tokens and experts by random scores, which are drawn once and then stay the same."""

    token_scores: Tensor  # [positions]
    expert_scores: Tensor  # [positions, experts]

    def __init__(self, positions: int, experts: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.experts = experts
        self.register_buffer("token_scores", torch.rand(positions, generator=generator))
        self.register_buffer("expert_scores", torch.rand(positions, experts, generator=generator))

    def pair_scores(self, x: Tensor, places: Tensor) -> Tensor:
        return self.expert_scores[places].expand(len(x), -1, -1)


class ActVARRandom(ActVAR):
    """Control: ActVAR with random selection."""

    name: ClassVar[str] = "actvar-random"
    title: ClassVar[str] = "ActVAR, random selection"
    family: ClassVar[str] = "sparsity control"
    paper: ClassVar[str] = "control of arbench"
    differences: ClassVar[str] = "ActVAR with experts and tokens drawn at random; light path trained alike"
    weights_folder: ClassVar[Path] = Path(__file__).parent / "weights"

    @classmethod
    def selections(cls, preset: Preset) -> list[Selection]:
        config = preset.network
        positions = sum(side * side for side in config["scales"])
        return [RandomSelection(positions, config["experts"], 1000 + layer) for layer in range(config["layers"])]
