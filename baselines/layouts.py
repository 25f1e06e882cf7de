"""How published checkpoints name their tensors, and from which repository each file comes.

Our networks keep the published names where they can. A ``Layout`` describes the differences:

- Our attention has one weight for queries, keys and values; some files have three.
- A tokenizer's encoder and decoder have levels: groups of layers at one resolution. Our networks number the levels in
  the order of computation. VAR's file numbers the levels of the decoder in the opposite order.
- In our tokenizers, the convolution ``quant_conv`` is a part of the encoder, and the convolution ``post_quant_conv`` is
  a part of the decoder. In the files, these two convolutions belong neither to the encoder nor to the decoder.

Names and shapes were read from the files; facts/METHODS.md lists the repositories.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.checkpoints.published import Source
from harness.checkpoints.tensors import fit_state, read_tensors
from harness.errors import ArbenchError

INSIDE = (("model",), ("module",), ("state_dict",))
"""Paths of keys that lead to the state dict in a published file. A file with none of these paths is itself a state
dict."""

Rename = tuple[str, str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class Layout:
    """How a published file names the tensors of one of our networks."""

    # (pattern, replacement) pairs from our names to the published ones, applied in turn
    renames: tuple[Rename, ...] = ()
    # Some of our tensors are in pieces in the file, cut along the first dimension. The first item is a part of our
    # tensor's name. The second item lists, for each piece, the text that replaces this part in the name of the piece.
    split: tuple[str, tuple[str, ...]] | None = None
    flat: tuple[str, ...] = ()  # names of our tensors whose first dimension, of size 1, is missing in the file
    # pattern of the names in the file that our networks do not have (constant tables, counters, a frozen teacher)
    ignored: str = r"$^"
    inside: tuple[tuple[str, ...], ...] = INSIDE  # paths of keys, as in INSIDE

    def published(self, name: str) -> list[str]:
        """The published names of one of our tensors: one name, or the names of the tensor's pieces in order."""
        for pattern, become in self.renames:
            name = re.sub(pattern, become, name)
        if self.split is None or self.split[0] not in name:
            return [name]
        return [name.replace(self.split[0], part) for part in self.split[1]]

    def shape(self, name: str, tensor: Tensor) -> tuple[int, ...]:
        """The shape that our tensor ``name`` has in the file. If the file holds the tensor in pieces, the shape of one
        piece."""
        whole = tuple(tensor.shape)[1:] if name in self.flat else tuple(tensor.shape)
        return (whole[0] // len(self.published(name)), *whole[1:]) if whole else whole


def load_published(path: Path, module: nn.Module, layout: Layout) -> nn.Module:
    """Load a published file into ``module``; returns the module in eval mode.

    A file with our own names is accepted as well. Raises ArbenchError if a tensor is missing, is unexpected or has the
    wrong shape. The error lists all these tensors by their names in the file.
    """
    state = read_tensors(path, layout.inside)
    own = module.state_dict()
    published = {name for ours in own for name in layout.published(ours)}
    if len(published & state.keys()) >= len(own.keys() & state.keys()):
        state = _in_our_names(state, own, layout, path, type(module).__name__)
    fit_state(module, state, path)
    return module.eval()


def _in_our_names(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], layout: Layout, path: Path, what: str
) -> dict[str, Tensor]:
    wanted = {name: layout.shape(ours, tensor) for ours, tensor in own.items() for name in layout.published(ours)}
    faults = [f"missing {name}" for name in wanted.keys() - state.keys()]
    faults += [f"unexpected {name}" for name in state.keys() - wanted.keys() if not re.search(layout.ignored, name)]
    faults += [
        f"{name} is {tuple(state[name].shape)}, not {wanted[name]}"
        for name in wanted.keys() & state.keys()
        if tuple(state[name].shape) != wanted[name]
    ]
    if faults:
        raise ArbenchError(f"weights {path} do not fit {what}: {'; '.join(sorted(faults))}")
    found = {}
    for ours, tensor in own.items():
        parts = [state[name] for name in layout.published(ours)]
        found[ours] = (parts[0] if len(parts) == 1 else torch.cat(parts)).view(tensor.shape)
    return found


LLAMAGEN = Layout(((r"^cls_embedding\.", "cls_embedding.embedding_table."),), ignored=r"^freqs_cis$")
EAR = Layout(
    (*LLAMAGEN.renames, (r"^mask_token$", "mask_token.weight")), flat=("mask_token",), ignored=LLAMAGEN.ignored
)
VAR = Layout(ignored=r"^attn_bias_for_masking$", inside=(*INSIDE, ("trainer", "var_wo_ddp")))
OUTER_CONVS: tuple[Rename, ...] = ((r"^\w+coder\.((post_)?quant_conv\.)", r"\1"),)
CODES: Rename = (r"^quantiser\.codebook\.codes$", "quantize.embedding.weight")
RESAMPLE: tuple[Rename, ...] = (
    (r"^encoder(.*)\.resample\.", r"encoder\1.downsample."),
    (r"^decoder(.*)\.resample\.", r"decoder\1.upsample."),
)


VQ16 = Layout(
    renames=(
        *OUTER_CONVS,
        CODES,
        *RESAMPLE,
        (r"\.levels\.(\d+)\.block\.", r".conv_blocks.\1.res."),
        (r"\.levels\.", ".conv_blocks."),
    ),
    split=(".qkv.", (".q.", ".k.", ".v.")),
    ignored=r"^quantize\.codebook_used$",
)


def var_vae(levels: int = 5) -> Layout:
    """The layout of VAR's tokenizer. The file numbers the decoder's levels from the highest resolution.

    levels: how many levels the decoder has.
    """
    return Layout(
        renames=(
            *OUTER_CONVS,
            CODES,
            (r"^quantiser\.phis\.", "quantize.quant_resi.qresi_ls."),
            *RESAMPLE,
            (r"^encoder\.levels\.", "encoder.down."),
            (r"^decoder\.levels\.(\d+)", lambda match: f"decoder.up.{levels - 1 - int(match[1])}"),
            (r"\.mid\.0\.", ".mid.block_1."),
            (r"\.mid\.1\.", ".mid.attn_1."),
            (r"\.mid\.2\.", ".mid.block_2."),
        ),
        ignored=r"^quantize\.ema_vocab_hit_SV$",
        inside=(*INSIDE, ("trainer", "vae_local")),
    )


XQGAN = Layout(
    renames=(
        *OUTER_CONVS,
        CODES,
        (r"^encoder\.patch_embed\.", "encoder.model.patch_embed.proj."),
        (r"^decoder\.to_pixel\.", "decoder.to_pixel.model."),
    ),
    ignored=r"^semantic_model\.|^\w+coder\.lvl1LC$|^quantize\.ema_vocab_hit_SV$",
)


@dataclass(frozen=True)
class Published:
    """A file of published weights: where it comes from and how it names its tensors."""

    source: Source
    layout: Layout


REVISIONS = {"FoundationVision/var": "6d0ee6598a42f75079aa79e58b012b57b284c91b"}
"""For a repository on the Hugging Face hub, the commit from which its files are fetched. Other people's code names this
commit of FoundationVision/var together with var_d30, var_d36 and the tokenizer. We found no commits of
FoundationVision/LlamaGen, FoodBamboo/EAR and qiuk6/RobustTok; the files of these repositories come from ``main``."""


def _files() -> dict[str, Published]:
    found: dict[str, Published] = {}
    for layout, repository, files in (
        (LLAMAGEN, "FoundationVision/LlamaGen", [f"c2i_{size}_256.pt" for size in ("B", "L")]),
        (LLAMAGEN, "FoundationVision/LlamaGen", [f"c2i_{size}_384.pt" for size in ("B", "L", "XL", "XXL", "3B")]),
        (VQ16, "FoundationVision/LlamaGen", ["vq_ds16_c2i.pt"]),
        (VAR, "FoundationVision/var", [f"var_d{depth}.pth" for depth in (16, 20, 24, 30, 36)]),
        (var_vae(), "FoundationVision/var", ["vae_ch160v4096z32.pth"]),
        (EAR, "FoodBamboo/EAR", [f"EAR-adaLN-{size}.pt" for size in ("B", "L", "XL")]),
        (XQGAN, "qiuk6/RobustTok", ["XQGAN-8192.pt"]),
    ):
        source = partial(Source, repository, revision=REVISIONS.get(repository, "main"))
        found |= {file: Published(source(path=file), layout) for file in files}
    return found


FILES: Mapping[str, Published] = _files()
"""A dict from the name of each published file to its source and layout."""
