"""A method small enough to compute by hand, for tests of whatever takes a method."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.method import Generated, Knob, KnobValue, Method, Preset
from harness.sampling import Sampling, draw, guide

CLASSES = 2
VOCABULARY = 8
POSITIONS = 4
WIDTH = 8


class PartLinear(nn.Linear):
    """A linear layer whose cost belongs to a part."""

    part: str

    def __init__(self, part: str, width: int, out: int) -> None:
        super().__init__(width, out)
        self.part = part


class FakeNetwork(nn.Module):
    """Class and last token in, logits out: an embedding, one FFN layer, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Embedding(CLASSES + 1, WIDTH)  # the last row stands for "no class"
        self.token = nn.Embedding(VOCABULARY, WIDTH)
        self.ffn = PartLinear("ffn", WIDTH, WIDTH)
        self.head = PartLinear("head", WIDTH, VOCABULARY)

    def forward(self, labels: Tensor, last: Tensor) -> Tensor:
        """labels, last: int64 [B] -> logits [B, VOCABULARY]."""
        return self.head(self.ffn(self.label(labels) + self.token(last)).relu())


class FakeTokenizer(nn.Module):
    """A codebook of 2x2 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.codebook = nn.Embedding(VOCABULARY, 4)
        self.mix = nn.Linear(4, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens int64 [B, 4] -> images [B, 1, 4, 4] in [0, 1]."""
        patches = self.mix(self.codebook(tokens)).sigmoid()
        return patches.view(-1, 2, 2, 2, 2).permute(0, 1, 3, 2, 4).reshape(-1, 1, 4, 4)


class FakeMethod(Method):
    """Four tokens of a 4x4 image; a step decides 4/steps of them at once."""

    name: ClassVar[str] = "fake"
    title: ClassVar[str] = "Fake"
    family: ClassVar[str] = "fakes"
    paper: ClassVar[str] = "none"
    differences: ClassVar[str] = "none"
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("steps", "int", 4, "sequential evaluations", low=1, high=4, axis=True),
        Knob("shade", "choice", "plain", "does nothing", choices=("plain", "dark")),
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset("tiny", "none", "fake", {}, Sampling(cfg=1.5), CLASSES, (1, 4, 4))
    }

    def __init__(self) -> None:
        super().__init__()
        self.preset = self.presets["tiny"]
        self.network = FakeNetwork()
        self.tokenizer = FakeTokenizer()

    @classmethod
    def build(cls, preset: str) -> "FakeMethod":
        cls.preset_named(preset)
        return cls()

    @classmethod
    def load(cls, preset: str, checkpoint: Path | None = None) -> "FakeMethod":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            method = cls.build(preset)
        method.eval()
        return method

    @property
    def positions(self) -> int:
        return POSITIONS

    @property
    def grids(self) -> tuple[int, ...]:
        return (2,)

    @property
    def vocabulary(self) -> int:
        return VOCABULARY

    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        schedule = self.schedule(knobs)
        tokens = torch.zeros(len(labels), POSITIONS, dtype=torch.int64, device=labels.device)
        last = torch.zeros_like(labels)
        for step, decided in enumerate(schedule):
            classes, seen = labels, last
            if sampling.guided:
                classes, seen = torch.cat([labels, torch.full_like(labels, CLASSES)]), torch.cat([last, last])
            logits = guide(self.network(classes, seen), sampling, step, len(schedule))
            tokens[:, decided] = draw(logits[:, None].expand(-1, len(decided), -1), noise[:, decided], sampling)
            last = tokens[:, decided[-1]]
        return Generated(tokens, torch.full_like(labels, len(schedule)))

    def decode(self, tokens: Tensor) -> Tensor:
        return self.tokenizer(tokens)

    def closed_form(self, knobs: Mapping[str, KnobValue], sampling: Sampling) -> dict[str, float]:
        calls = len(self.schedule(knobs)) * (2 if sampling.guided else 1)
        return {"ffn": calls * WIDTH * WIDTH, "head": calls * WIDTH * VOCABULARY, "tokenizer": POSITIONS * 16}

    def schedule(self, knobs: Mapping[str, KnobValue]) -> list[list[int]]:
        return [part.tolist() for part in torch.arange(POSITIONS).tensor_split(int(knobs["steps"]))]
