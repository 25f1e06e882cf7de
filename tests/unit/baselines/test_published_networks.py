"""The published networks at tiny sizes, against what the official code gave for the same weights and noise."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines import layouts, next_set, raster, var
from baselines.layouts import load_published
from baselines.next_set_network import NextSetNetwork
from baselines.raster import Raster, RasterNetwork
from baselines.schedules import ORDERS, half_rings, rings
from baselines.single_scale import Bundled
from baselines.tokenizers.published import var_vae
from baselines.tokenizers.vq import FixedCodes, Quantiser, Tokenizer
from baselines.tokenizers.vqgan import VQGANConfig
from baselines.var import VAR, VARNetwork
from harness.method import KnobValue, Preset
from harness.sampling import Sampling
from methods.ear import EAR
from tests.helpers.published import FOLDER, fixture, published_state

TOLERANCE = 1e-4


def close(ours: Tensor, official: Tensor) -> bool:
    """Equal to 1e-4 in absolute terms."""
    assert ours.shape == official.shape
    return (ours - official).abs().max().item() < TOLERANCE


def tiny(method: type[Bundled], network: nn.Module, tokenizer: Tokenizer, classes: int) -> Any:
    """A method around a tiny network."""
    preset = Preset("tiny", "none", "none", {}, Sampling(), classes, (3, 16, 16))
    return method(preset, tokenizer, network, {})


def no_pixels(vocabulary: int, grid: int) -> Tokenizer:
    """A tokenizer without networks."""
    return Tokenizer(Quantiser(FixedCodes(vocabulary, 8), (grid,)), nn.Identity(), nn.Identity())


def saved(path: Path, content: Any) -> Path:
    """A file as torch.save writes it."""
    torch.save(content, path)
    return path


def step_logits(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What ``guide`` is given from now on in a module, [rows, tokens, V] each."""
    seen: list[Tensor] = []
    guide = module.guide

    def spy(logits: Tensor, *rest: Any) -> Tensor:
        seen.append(logits if logits.ndim == 3 else logits[:, None])
        return guide(logits, *rest)

    monkeypatch.setattr(module, "guide", spy)
    return seen


def check_sampling(
    method: Any,
    knobs: dict[str, KnobValue],
    found: dict[str, Tensor],
    order: Tensor,
    greedy: dict[str, Sampling],
    drawn: Sampling,
    seen: list[Tensor],
) -> None:
    """Greedy and drawn tokens are the official ones, and so are the logits of every step of the drawn path."""
    labels, noise = found["labels"], torch.empty_like(found["noise"])
    noise[:, order] = found["noise"]  # theirs is in the order of decoding, ours by position
    for name, sampling in greedy.items():
        assert torch.equal(method.sample(labels, noise, knobs, sampling).tokens, found[name]), name
    seen.clear()
    assert torch.equal(method.sample(labels, noise, knobs, drawn).tokens, found["drawn"])
    assert close(torch.cat(seen, 1), found["steps_drawn"])


@pytest.mark.parametrize("name", ["llamagen_gpt_tiny", "llamagen_gpt_tiny8x8"])
def test_raster_is_llamagen_to_the_number(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, about = fixture(name)
    config, grid = about["config"], int(about["config"]["block_size"] ** 0.5)
    network = RasterNetwork(
        vocabulary=config["vocab_size"],
        grid=grid,
        classes=config["num_classes"],
        dim=config["dim"],
        layers=config["n_layer"],
        heads=config["n_head"],
        multiple_of=256,
    )
    path = saved(tmp_path / "gpt.pt", {"model": published_state(about["state_dict"])})
    load_published(path, network, layouts.LLAMAGEN)
    with torch.no_grad():
        assert close(network.logits(found["tokens"], found["labels"]), found["teacher_forced"])
    method = tiny(Raster, network, no_pixels(config["vocab_size"], grid), config["num_classes"])
    greedy = {key: Sampling(cfg=float(key[10:]), top_k=1) for key in found if key.startswith("greedy_cfg")}
    cfg, top_k, top_p = about["margins"]["drawn_cfg_topk_topp"]
    seen = step_logits(raster, monkeypatch)
    order = torch.arange(grid * grid)
    check_sampling(method, {}, found, order, greedy, Sampling(cfg=cfg, top_k=top_k, top_p=top_p), seen)


@pytest.mark.parametrize("name", ["ear_adaln31_tiny", "ear_adaln16_tiny", "ear_plain31_tiny", "ear_plain16_tiny"])
def test_ear_is_the_published_one_to_the_number(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, about = fixture(name)
    config = about["config"]
    network = NextSetNetwork(
        order="spiral",
        rope="index",
        adaln="adaln" in name,
        vocabulary=config["vocab_size"],
        grid=16,
        classes=config["num_classes"],
        dim=config["dim"],
        layers=config["n_layer"],
        heads=config["n_head"],
        multiple_of=256,
    )
    path = saved(tmp_path / "ear.pt", {"model": published_state(about["state_dict"])})
    load_published(path, network, layouts.EAR)
    sizes = (half_rings if about["parts"] == 31 else rings)(256)
    assert [1, *(1 + torch.tensor(sizes).cumsum(0)).tolist()] == about["ends"]
    with torch.no_grad():
        logits = network.logits(found["tokens"], found["labels"], sizes)
    assert close(logits[:, network.order], found["teacher_forced"])
    method = tiny(EAR, network, no_pixels(config["vocab_size"], 16), config["num_classes"])
    schedule = "half-rings" if about["parts"] == 31 else "rings"
    knobs: dict[str, KnobValue] = {"steps": about["parts"], "schedule": schedule, "adaptive": 0.0}
    greedy = {key: Sampling(cfg=float(key[10:]), top_k=1) for key in found if key.startswith("greedy_cfg")}
    cfg, top_k, top_p = about["margins"]["drawn_cfg_topk_topp"]
    seen = step_logits(next_set, monkeypatch)
    check_sampling(method, knobs, found, network.order, greedy, Sampling(cfg=cfg, top_k=top_k, top_p=top_p), seen)


@pytest.mark.parametrize("name", ["var_tiny", "var_tiny_shared", "var_tiny_10scales"])
def test_var_is_the_published_one_to_the_number(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, about = fixture(name)
    config, scales, vae = about["config"], about["patch_nums"], about["vae"]
    network = VARNetwork(
        vocabulary=vae["vocab"],
        channels=vae["z"],
        scales=scales,
        classes=config["classes"],
        dim=config["width"],
        layers=config["depth"],
        heads=config["heads"],
        shared=config.get("shared_aln", False),
    )
    load_published(saved(tmp_path / "var.pth", published_state(about["state_dict"], scales)), network, layouts.VAR)
    multiples = tuple(vae["ch_mult"])
    tokenizer = var_vae(scales, vae["vocab"], VQGANConfig(vae["ch"], vae["z"], vae["z"], 3, multiples))
    path = saved(tmp_path / "vae.pth", published_state(about["vae_state_dict"]))
    load_published(path, tokenizer, layouts.var_vae(len(multiples)))
    method = tiny(VAR, network, tokenizer, config["classes"])
    with torch.no_grad():
        inputs = method.quantiser.inputs(found["tokens"])
        assert close(inputs, found["inputs"])
        assert close(method.quantiser.lookup(found["tokens"]), found["fhat"])
        assert close(network.logits(inputs, found["labels"]), found["teacher_forced"])
        null = torch.full_like(found["labels"], config["classes"])
        assert close(network.logits(inputs, null), found["teacher_forced_null"])
    greedy = {
        key: Sampling(cfg=1 + float(key[10:]), cfg_schedule="ramp", top_k=1)
        for key in found
        if key.startswith("greedy_cfg")
    }
    cfg, top_k, top_p = about["margins"]["drawn_cfg_topk_topp"]
    seen = step_logits(var, monkeypatch)
    drawn = Sampling(cfg=1 + cfg, cfg_schedule="ramp", top_k=top_k, top_p=top_p)
    check_sampling(method, {}, found, torch.arange(method.positions), greedy, drawn, seen)
    assert close(method.decode(found["drawn"]), found["image_drawn"])


def test_the_spiral_is_the_published_one_on_every_grid() -> None:
    for grid, places in json.loads((FOLDER / "ear_spirals.json").read_text()).items():
        assert ORDERS["spiral"](int(grid)) == places
