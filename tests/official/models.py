"""The published models as the authors' checkouts build them, ready to be compared with ours: in figures (equal.py) and
in time (speed.py)."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.method import Preset

Seen = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class How:
    """How the authors' code is run."""

    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")
    compiled: bool = False  # by torch.compile, as the authors' script does it; only where ``Model.compiles``


@dataclass(frozen=True)
class Official:
    """The authors' code, built. network, tokenizer: with the published names; generate: (labels, cfg as their code
    takes it, top-k or 0, top-p or 1) -> images [B, 3, H, W]; teacher_forced: (tokens in the order of the file format,
    labels) -> logits [B, T, V] in that order; drawing: the module and the name of what draws tokens from logits."""

    network: nn.Module
    tokenizer: nn.Module
    generate: Callable[[Tensor, float, int, float], Tensor]
    teacher_forced: Callable[[Tensor, Tensor], Tensor]
    drawing: tuple[Any, str]

    @contextmanager
    def watched(self) -> Iterator[Seen]:
        """Inside the ``with``: guided logits [B, n, V] and the tokens [B, n] drawn from them, of every step."""
        module, name = self.drawing
        draw, seen = getattr(module, name), Seen()

        def spy(logits: Tensor, *rest: Any, **more: Any) -> Any:
            given = logits.clone()  # the filters work in place
            drawn = draw(logits, *rest, **more)
            tokens = drawn[0] if isinstance(drawn, tuple) else drawn
            seen.append((given.float(), tokens.reshape(len(given), -1).clone()))
            return drawn

        setattr(module, name, spy)
        try:
            yield seen
        finally:
            setattr(module, name, draw)


def _gpt(module: str, network: Mapping[str, Any], how: How) -> Any:
    """The network that LlamaGen's and EAR's code share; dropout, which teacher forcing would meet, is off."""
    gpt = import_module(module)
    arguments = gpt.ModelArgs(
        n_layer=network["layers"], n_head=network["heads"], dim=network["dim"], vocab_size=network["vocabulary"],
        block_size=network["grid"] ** 2, num_classes=1000, cls_token_num=1, model_type="c2i", token_dropout_p=0.0,
        resid_dropout_p=0.0, ffn_dropout_p=0.0,
    )  # fmt: skip
    return gpt.Transformer(arguments).eval().to(how.device, how.dtype)


def llamagen(preset: Preset, how: How) -> Official:
    """LlamaGen as its sample_c2i.py runs it: the network in a precision, the tokenizer in float32; with --compile, the
    network is compiled for CUDA graphs."""
    network = _gpt("autoregressive.models.gpt", preset.network, how)
    called: Any = torch.compile(network, mode="reduce-overhead", fullgraph=True) if how.compiled else network
    module: Any = import_module("autoregressive.models.generate")
    vq = import_module("tokenizer.tokenizer_image.vq_model").VQ_models["VQ-16"]
    tokenizer = vq(codebook_size=16384, codebook_embed_dim=8).eval().to(how.device)
    side: int = preset.network["grid"]

    def generate(labels: Tensor, cfg: float, top_k: int, top_p: float) -> Tensor:
        tokens = module.generate(
            called, labels, side**2, cfg_scale=cfg, cfg_interval=-1, temperature=1.0, top_k=top_k, top_p=top_p,
            sample_logits=True,
        )  # fmt: skip
        images: Tensor = tokenizer.decode_code(tokens, [len(labels), 8, side, side])
        if side == 24:  # as their sample_c2i_ddp.py does for evaluation
            images = F.interpolate(images, size=(256, 256), mode="bicubic")
        return images

    def teacher_forced(tokens: Tensor, labels: Tensor) -> Tensor:
        for layer in network.layers:
            layer.attention.kv_cache = None
        logits: Tensor = network(tokens[:, :-1], labels, input_pos=torch.arange(side**2, device=tokens.device))[0]
        return logits

    return Official(network, tokenizer, generate, teacher_forced, (module, "sample"))


def ear(preset: Preset, how: How) -> Official:
    """EAR-adaLN as its sample_c2i_ddp.py runs it. Its tokenizer's class needs a module that the checkout lacks, and
    would download DINOv2: encoder and decoder are put together here. Greedy top-k is 1; otherwise it is off, since
    9000, its authors' value, is above the vocabulary."""
    sys.modules.setdefault("peft", ModuleType("peft"))  # imported for LoRA alone, which is not used
    network = _gpt("autoregressive_31_adaLN.models.gpt_opt", preset.network, how)
    module: Any = import_module("autoregressive_31_adaLN.models.generate")
    tokenizer: Any = _xqgan().to(how.device)
    side: int = preset.network["grid"]

    def generate(labels: Tensor, cfg: float, top_k: int, top_p: float) -> Tensor:
        tokens = module.generate(
            network, labels, side**2, cfg_scale=cfg, cfg_interval=-1, temperature=1.0, top_k=top_k, top_p=top_p,
            sample_logits=True,
        )  # fmt: skip
        vectors = tokenizer.quantize.embedding.weight[tokens.view(-1, side, side).long()].permute(0, 3, 1, 2)
        images: Tensor = tokenizer.decoder(tokenizer.post_quant_conv(vectors).flatten(2).permute(0, 2, 1))
        return images

    def teacher_forced(tokens: Tensor, labels: Tensor) -> Tensor:
        network.train()
        network.cls_embedding.dropout_prob = 0.0
        logits: Tensor = network(tokens, labels, targets=tokens)[0]
        network.eval()
        return logits[:, network.spiral_indices_gt.argsort()]

    return Official(network, tokenizer, generate, teacher_forced, (module, "sample"))


def _xqgan() -> nn.Module:
    dino = import_module("tokenizer.tokenizer_image.dino_enc.dinov2")
    common = {
        "in_channels": 3, "num_latent_tokens": 256, "model_name": "vit_base_patch14_dinov2.lvd142m",
        "pretrained": False, "model_kwargs": {"img_size": 256, "patch_size": 16, "drop_path_rate": 0.1},
        "tuning_method": "full", "abs_pos_embed": True,
    }  # fmt: skip
    tokenizer: Any = nn.Module()
    tokenizer.encoder = dino.DINOv2Encoder(product_quant=1, **common)
    tokenizer.decoder = dino.DINOv2Decoder(to_pixel="linear", use_rope=False, cond_latent=False, **common)
    tokenizer.quant_conv = nn.Conv2d(tokenizer.encoder.embed_dim, 32, 1)
    tokenizer.post_quant_conv = nn.Conv2d(32, tokenizer.decoder.embed_dim, 1)
    tokenizer.quantize = nn.Module()
    tokenizer.quantize.embedding = nn.Embedding(8192, 32)
    found: nn.Module = tokenizer.eval()
    return found


def var(preset: Preset, how: How) -> Official:
    """VAR as its demo runs it: below float32 by autocast, tokenizer included."""
    depth = preset.network["layers"]
    tokenizer, network = import_module("models").build_vae_var(device="cpu", depth=depth, shared_aln=depth == 36)
    tokenizer.eval().to(how.device), network.eval().to(how.device)
    network.rng = torch.Generator(how.device)

    def generate(labels: Tensor, cfg: float, top_k: int, top_p: float) -> Tensor:
        with torch.autocast(how.device.type, dtype=torch.bfloat16, enabled=how.dtype != torch.float32):
            images: Tensor = network.autoregressive_infer_cfg(
                B=len(labels), label_B=labels, cfg=cfg, top_k=top_k, top_p=top_p if top_p < 1 else 0.0, g_seed=0
            )
        return images

    def teacher_forced(tokens: Tensor, labels: Tensor) -> Tensor:
        network.cond_drop_rate = 0.0
        scales = tokens.split([side**2 for side in network.patch_nums], 1)
        logits: Tensor = network(labels, tokenizer.quantize.idxBl_to_var_input(list(scales)))
        return logits

    return Official(network, tokenizer, generate, teacher_forced, (import_module("models.var"), DRAW_VAR))


DRAW_VAR = "sample_with_top_k_top_p_"


@dataclass(frozen=True)
class Model:
    """A model under comparison."""

    method: str  # ours
    preset: str  # ours
    checkout: str  # the option that gives its authors' code
    build: Callable[[Preset, How], Official]
    settings: tuple[float, int, float]  # what its authors generate with: cfg, top-k, top-p
    target: float  # how many times as fast ours is to be on a CPU
    captured: Mapping[int, float]  # the same on CUDA, for each batch size, where ours is captured and theirs is eager
    compiles: bool = False  # whether its authors' script can compile


COMPILED = 1.5
"""How many times as fast as the authors' compiled code ours is to be on CUDA."""
MODELS = {
    "LlamaGen": Model(
        "raster", "imagenet256-b", "llamagen", llamagen, (2.0, 0, 1.0), 2.0, {1: 15.0, 64: 5.0}, compiles=True
    ),
    "EAR-adaLN": Model("ear", "imagenet256-b", "ear", ear, (1.65, 0, 1.0), 1.2, {1: 13.0, 64: 5.0}),
    "VAR": Model("var", "imagenet256-d16", "var", var, (1.5, 900, 0.96), 1.05, {1: 5.0, 64: 2.0}),
}


def official(model: Model, checkout: Path, preset: Preset, how: How) -> Official:
    """The authors' code from their checkout, whose packages are put first on the path."""
    sys.path.insert(0, str(checkout))
    return model.build(preset, how)


def labels(batch: int, device: torch.device) -> Tensor:
    """Class labels 0, 1, ... [B]."""
    return torch.arange(batch, device=device) % 1000
