"""The published models as ours and as the authors' checkouts build them, on random weights, ready to be timed."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from harness import registry
from harness.flops import inputs
from harness.method import Preset
from harness.setup import PRECISIONS, in_precision

Generate = Callable[[], Tensor]
"""A whole generation: images [B, 3, 256, 256]."""


@dataclass(frozen=True)
class Model:
    """A model under comparison. method, preset: ours; checkout: the option that gives its authors' code; official:
    builds their generation from (layers or None, precision, batch); target: how many times as fast ours is to be."""

    method: str
    preset: str
    checkout: str
    official: Callable[[int | None, torch.dtype, int], Generate]
    target: float


def fill(*modules: nn.Module) -> None:
    """Random weights of one kind for both sides: no zeros that would make arithmetic cheap, nothing left unset."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in modules:
            for name, own in module.named_parameters():
                if own.ndim > 1:
                    own.normal_(std=0.02)
                elif name.endswith("bias"):
                    own.zero_()


def ours(model: Model, layers: int | None, precision: str, batch: int) -> Generate:
    """Our generation: sampling at the preset's own settings and decoding."""
    owner = registry.get(model.method)
    network = owner.preset_named(model.preset).network
    if layers is not None:
        dim = 64 * layers if model.method == "var" else network["dim"]
        heads = layers if model.method == "var" else network["heads"]
        _replace_preset(owner, model.preset, {**network, "layers": layers, "dim": dim, "heads": heads})
    method = owner.build(model.preset).eval()
    fill(method.network, method.tokenizer)
    in_precision(method, precision)
    knobs, sampling = owner.resolve({}, model.preset), method.preset.sampling
    labels, noise = inputs(method, 0, range(batch))
    return lambda: method.decode(method.sample(labels, noise, knobs, sampling).tokens)


def _replace_preset(owner: Any, name: str, network: dict[str, Any]) -> None:
    found: Preset = owner.preset_named(name)
    owner.presets = {**owner.presets, name: replace(found, network=network)}


def _labels(batch: int) -> Tensor:
    return torch.arange(batch) % 1000


def llamagen(layers: int | None, dtype: torch.dtype, batch: int) -> Generate:
    """LlamaGen-B, 256 tokens, as its sample_c2i.py runs it: the network in ``dtype``, the tokenizer in float32."""
    gpt = import_module("autoregressive.models.gpt")
    generate = import_module("autoregressive.models.generate").generate
    arguments = gpt.ModelArgs(
        n_layer=layers or 12, n_head=12, dim=768, vocab_size=16384, block_size=256, num_classes=1000,
        cls_token_num=1, model_type="c2i",
    )  # fmt: skip
    network = gpt.Transformer(arguments).eval()
    tokenizer = import_module("tokenizer.tokenizer_image.vq_model").VQ_models["VQ-16"](
        codebook_size=16384, codebook_embed_dim=8
    )
    tokenizer.eval()
    fill(network, tokenizer)
    network.to(dtype)

    def run() -> Tensor:
        tokens = generate(
            network, _labels(batch), 256, cfg_scale=2.0, cfg_interval=-1, temperature=1.0, top_k=0, top_p=1.0,
            sample_logits=True,
        )  # fmt: skip
        images: Tensor = tokenizer.decode_code(tokens, [batch, 8, 16, 16])
        return images

    return run


def ear(layers: int | None, dtype: torch.dtype, batch: int) -> Generate:
    """EAR-adaLN-B, 31 steps, as its sample_c2i_ddp.py runs it. Of its tokenizer the decoder alone is built: the whole
    would download DINOv2. top_k is off, since 9000, its authors' value, is above the vocabulary."""
    sys.modules.setdefault("peft", ModuleType("peft"))  # imported for LoRA alone, which is not used
    gpt = import_module("autoregressive_31_adaLN.models.gpt_opt")
    generate = import_module("autoregressive_31_adaLN.models.generate").generate
    arguments = gpt.ModelArgs(
        n_layer=layers or 12, n_head=12, dim=768, vocab_size=8192, block_size=256, num_classes=1000,
        cls_token_num=1, model_type="c2i",
    )  # fmt: skip
    network = gpt.Transformer(arguments).eval()
    decoder = import_module("tokenizer.tokenizer_image.dino_enc.dinov2").DINOv2Decoder(
        in_channels=3, num_latent_tokens=256, model_name="vit_base_patch14_dinov2.lvd142m", pretrained=False,
        model_kwargs={"img_size": 256, "patch_size": 16, "drop_path_rate": 0.1}, tuning_method="full",
        to_pixel="linear", use_rope=False, cond_latent=False, abs_pos_embed=True,
    ).eval()  # fmt: skip
    codes, convolution = nn.Embedding(8192, 32), nn.Conv2d(32, decoder.embed_dim, 1)
    fill(network, decoder, codes, convolution)
    network.to(dtype)

    def run() -> Tensor:
        tokens = generate(
            network, _labels(batch), 256, cfg_scale=1.65, cfg_interval=-1, temperature=1.0, top_k=0, top_p=1.0,
            sample_logits=True,
        )  # fmt: skip
        vectors = codes.weight[tokens.view(batch, 16, 16).long()].permute(0, 3, 1, 2)
        images: Tensor = decoder(convolution(vectors).flatten(2).permute(0, 2, 1))
        return images

    return run


def var(layers: int | None, dtype: torch.dtype, batch: int) -> Generate:
    """VAR-d16, as its demo runs it: below float32 by autocast, tokenizer included."""
    tokenizer, network = import_module("models").build_vae_var(device="cpu", depth=layers or 16)
    fill(network, tokenizer)
    network.eval()
    tokenizer.eval()

    def run() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
            images: Tensor = network.autoregressive_infer_cfg(
                B=batch, label_B=_labels(batch), cfg=1.5, top_k=900, top_p=0.96, g_seed=0
            )
        return images

    return run


MODELS = {
    "LlamaGen-B": Model("raster", "imagenet256-b", "llamagen", llamagen, 2.0),
    "EAR-adaLN-B": Model("ear", "imagenet256-b", "ear", ear, 1.2),
    "VAR-d16": Model("var", "imagenet256-d16", "var", var, 1.05),
}


def official(model: Model, checkout: Path, layers: int | None, precision: str, batch: int) -> Generate:
    """The authors' generation, from their checkout, whose packages are put first on the path."""
    sys.path.insert(0, str(checkout))
    return model.official(layers, PRECISIONS[precision], batch)
