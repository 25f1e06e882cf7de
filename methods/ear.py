"""EAR (arXiv 2511.15499): next-set prediction in a spiral from the centre outwards, with length-adaptive decoding.

The network, its two streams and the sampling loop are ``baselines.next_set``'s, shared with the order controls. The
paper's "length-adaptive decoding" has no counterpart in the released code (facts/METHODS.md), so ``adaptive`` is ours:
every step predicts the next 13 places of the spiral and accepts the longest prefix in which each token's predicted
entropy (of the guided distribution) stays under a threshold, at least one token.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from baselines.next_set import ADAPTIVE, SCHEDULE, STEPS, NextSet, next_set_preset
from harness.method import Knob, Preset


class EAR(NextSet):
    """EAR: spiral order, any number of steps, or as many as the predicted entropy asks for."""

    name: ClassVar[str] = "ear"
    title: ClassVar[str] = "EAR"
    family: ClassVar[str] = "next-set"
    paper: ClassVar[str] = "arXiv 2511.15499 (EAR)"
    differences: ClassVar[str] = (
        "next-set, centre-outward spiral; two streams, so about twice the arithmetic a token; adaLN by class"
    )
    knobs: ClassVar[tuple[Knob, ...]] = (STEPS, SCHEDULE, ADAPTIVE)
    presets: ClassVar[Mapping[str, Preset]] = next_set_preset("spiral")
    weights_folder: ClassVar[Path] = Path(__file__).parent / "weights"
