"""EAR (arXiv 2511.15499): next-set prediction in a spiral from the centre outwards, with length-adaptive decoding.

The network, its two streams and the sampling loop are in ``baselines.next_set``. Some control methods share them: each
of these controls is EAR with another order of the tokens (``baselines.orders``).

The paper's "length-adaptive decoding" has no counterpart in the released code (facts/METHODS.md). The knob
``adaptive`` is therefore our own design.

In spiral order, the tokens k^2 to (k + 1)^2 - 1 form ring k. With ``adaptive``, every step predicts the rest of the
ring that contains the first undecoded token. The step accepts the longest prefix whose predicted entropy is at most a
threshold, but at least one token. The entropy of a prefix is the sum of its tokens' entropies, computed from the logits
after guidance.

No step predicts tokens beyond the ring. The reason is that the network predicts a set of tokens worse if no published
schedule has this set as one step. The tokens of such a set are predicted worse even if the step accepts only a few of
them.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from baselines.next_set import ADAPTIVE, SCHEDULE, STEPS, NextSet, next_set_preset
from harness.method import Knob, Preset
from harness.sampling import Sampling
from harness.setup import Setup

SIZES = {"b": (768, 12, 12, 1.65), "l": (1024, 24, 16, 1.45), "xl": (1280, 36, 20, 1.475)}
"""EAR-adaLN's models: width, layers, heads, and a guidance scale that the authors use."""

IMAGENET_KNOBS = (
    replace(STEPS, default=31, high=256),
    replace(
        SCHEDULE,
        default="half-rings",
        help="part sizes: half-rings (31 steps, as trained), rings (16), growing or equal",
    ),
)


def imagenet_preset(size: str) -> Preset:
    """The preset of a published EAR-adaLN: 16x16 tokens, sampled in 31 steps.

    ``schedule=rings, steps=16`` is the paper's variant with 16 steps, on the same weights. RoPE depends on a
    token's index in the spiral, not on the token's position in the grid (see ``baselines.next_set``). Labels are drawn
    at random, and images are rounded to bytes, as in LlamaGen's presets.
    """
    dim, layers, heads, cfg = SIZES[size]
    return Preset(
        name=f"imagenet256-{size}",
        data="imagenet256",
        tokenizer="xqgan-8192",
        network={
            "vocabulary": 8192,
            "grid": 16,
            "classes": 1000,
            "dim": dim,
            "layers": layers,
            "heads": heads,
            "multiple_of": 256,
            "order": "spiral",
            "rope": "index",
        },
        sampling=Sampling(cfg=cfg),
        classes=1000,
        image=(3, 256, 256),
        weights=f"EAR-adaLN-{size.upper()}.pt",
        setup=Setup(labels="random", compute_batch=64),
        knobs=IMAGENET_KNOBS,
    )


class EAR(NextSet):
    """EAR: tokens in spiral order. The number of steps is a knob, or it follows from the predicted entropy."""

    name: ClassVar[str] = "ear"
    title: ClassVar[str] = "EAR"
    family: ClassVar[str] = "next-set"
    paper: ClassVar[str] = "arXiv 2511.15499 (EAR)"
    differences: ClassVar[str] = (
        "next-set, centre-outward spiral; two streams, so about twice the arithmetic a token; adaLN by class"
    )
    knobs: ClassVar[tuple[Knob, ...]] = (STEPS, SCHEDULE, ADAPTIVE)
    presets: ClassVar[Mapping[str, Preset]] = {
        **next_set_preset("spiral"),
        **{preset.name: preset for preset in (imagenet_preset(size) for size in SIZES)},
    }
    weights_folder: ClassVar[Path] = Path(__file__).parent / "weights"
