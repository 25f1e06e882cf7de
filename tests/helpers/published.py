"""Tiny configurations of the published networks with what the official code gave for them (tests/fixtures).

Weights are not stored: every tensor is a function of its published name and shape, so that equal outputs also prove the
names. A Philox generator keyed by the name gives words, which become numbers in [-1, 1) and are scaled by a rule.
"""

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "fixtures"

TABLES = re.compile(r"(zero_k_bias|lvl_1L|attn_bias_for_masking|ema_vocab_hit_SV|codebook_used|lvl1LC)$")
EMBEDDINGS = re.compile(
    r"(tok_embeddings\.weight|embedding_table\.weight|mask_token(\.weight)?|class_emb\.weight|lvl_embed\.weight|pos_start|"
    r"pos_1LC|pos_embed|cls_token|latent_tokens|quantize\.embedding\.weight|ada_gss)$"
)
HEADS = re.compile(r"^(output|head)\.weight$")
PIXELS = re.compile(r"^decoder\.(conv_out|to_pixel\.model)\.weight$")


def fixture(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (inputs and official outputs) and configuration."""
    return load_file(FOLDER / f"{name}.safetensors"), json.loads((FOLDER / f"{name}.json").read_text())


def published_state(shapes: Mapping[str, Sequence[int]], scales: Sequence[int] = ()) -> dict[str, Tensor]:
    """A state dict with these published names and shapes; constant tables as the official code makes them."""
    return {
        name: _table(name, shape, scales) if TABLES.search(name) else tensor(name, shape)
        for name, shape in shapes.items()
    }


def _table(name: str, shape: Sequence[int], scales: Sequence[int]) -> Tensor:
    if name == "lvl_1L":
        return torch.repeat_interleave(torch.arange(len(scales)), torch.tensor([side**2 for side in scales]))[None]
    return torch.zeros(*shape)


def uniform(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """Numbers in [-1, 1) of a name and shape."""
    raw = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(math.prod(shape))
    unit = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return unit.reshape(tuple(shape))


def tensor(name: str, shape: Sequence[int]) -> Tensor:
    """The tensor of a name and shape, float32."""
    u = torch.from_numpy(uniform(name, shape))
    if name.endswith("scale_mul_1H11"):  # head 0 above the clamp
        scale = 1.4 + 0.6 * u
        scale[:, 0] = 5.0
        return scale
    if name.endswith(".gamma"):
        return 0.5 + 0.3 * u
    if EMBEDDINGS.search(name):
        return math.sqrt(3) * (0.1 if "mask_token" in name else 0.5) * u
    if len(shape) == 1:
        return 1 + 0.3 * u if name.endswith("weight") else 0.2 * u
    gain = 2.5 if HEADS.search(name) else 1.5 if name.endswith("wqkv.weight") else 0.4 if PIXELS.search(name) else 1.0
    return gain * math.sqrt(3 / math.prod(shape[1:])) * u
