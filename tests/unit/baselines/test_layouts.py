"""Published checkpoints load strictly and safely, whichever way they are wrapped."""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from baselines import layouts
from baselines.layouts import FILES, Layout, load_published
from baselines.next_set_network import NextSetNetwork
from baselines.raster import Raster, RasterNetwork
from baselines.tokenizers.published import PUBLISHED, var_vae, vq16, xqgan
from baselines.tokenizers.vit import ViTConfig
from baselines.tokenizers.vqgan import VQGANConfig
from baselines.var import VAR, VARNetwork
from harness.checkpoints.tensors import Uninitialised
from harness.errors import ArbenchError
from methods.ear import EAR
from tests.helpers.published import fixture, published_state

SIZE: dict[str, Any] = {"vocabulary": 32, "classes": 10, "dim": 64, "layers": 2, "heads": 2, "multiple_of": 256}
SMALL = VQGANConfig(width=32, vectors=8, codes=8, kernel=3)

CASES: dict[str, tuple[Callable[[], nn.Module], Layout]] = {
    "llamagen_gpt_tiny": (lambda: RasterNetwork(grid=4, **SIZE), layouts.LLAMAGEN),
    "ear_adaln31_tiny": (lambda: NextSetNetwork(grid=16, order="spiral", rope="index", **SIZE), layouts.EAR),
    "var_tiny": (lambda: VARNetwork(32, 8, (1, 2, 3, 4), 10, 64, 2, 2), layouts.VAR),
    "var_vae_tiny": (lambda: var_vae((1, 2, 3, 4), 32, SMALL), layouts.var_vae()),
    "llamagen_vq16_tiny": (lambda: vq16(4, 0, 32, VQGANConfig(32, 64, 8, 1)), layouts.VQ16),
    "xqgan_tiny": (lambda: xqgan(32, ViTConfig(4, 4, 8, 64, 2, 4)), layouts.XQGAN),
}


def state_of(name: str) -> dict[str, Tensor]:
    """The fixture's state dict, as published."""
    return published_state(fixture(name)[1]["state_dict"], (1, 2, 3, 4))


def saved(folder: Path, content: Any) -> Path:
    """As torch.save writes it."""
    torch.save(content, folder / "checkpoint.pt")
    return folder / "checkpoint.pt"


@pytest.mark.parametrize("name", CASES)
def test_a_renamed_missing_or_truncated_tensor_is_listed_by_its_published_name(name: str, tmp_path: Path) -> None:
    build, layout = CASES[name]
    network, state = build(), state_of(name)
    needed = [key for key in state if not re.search(layout.ignored, key)]
    first, second, third = needed[0], needed[len(needed) // 2], needed[-1]
    state["renamed." + first] = state.pop(first)
    del state[second]
    state[third] = state[third][..., :-1]
    with pytest.raises(ArbenchError) as caught:
        load_published(saved(tmp_path, state), network, layout)
    message = str(caught.value)
    assert f"unexpected renamed.{first}" in message
    assert f"missing {first}" in message and f"missing {second}" in message
    assert f"{third} is {tuple(state[third].shape)}, not " in message
    assert message.count(";") == 3
    assert "\n" not in message


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"model": state, "optimizer": {"lr": 0.1}, "steps": 7, "args": argparse.Namespace(lr=0.1)},
        lambda state: {"module": state},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {**state, "freqs_cis": torch.zeros(3)}},
    ],
    ids=["raw", "model", "module", "state_dict", "with a table"],
)
def test_a_state_dict_is_found_wherever_repositories_put_it(wrapped: Any, tmp_path: Path) -> None:
    build, layout = CASES["llamagen_gpt_tiny"]
    network, state = build(), state_of("llamagen_gpt_tiny")
    load_published(saved(tmp_path, wrapped(state)), network, layout)
    assert torch.equal(network.state_dict()["cls_embedding.weight"], state["cls_embedding.embedding_table.weight"])
    assert not network.training


def test_vars_own_training_files_hold_both_of_its_networks(tmp_path: Path) -> None:
    both = {"trainer": {"var_wo_ddp": state_of("var_tiny"), "vae_local": state_of("var_vae_tiny")}, "epoch": 1}
    for name in ("var_tiny", "var_vae_tiny"):
        build, layout = CASES[name]
        load_published(saved(tmp_path, both), build(), layout)


def test_half_precision_and_safetensors_load_too(tmp_path: Path) -> None:
    build, layout = CASES["llamagen_gpt_tiny"]
    state = {name: tensor.bfloat16() for name, tensor in state_of("llamagen_gpt_tiny").items()}
    save_file(state, tmp_path / "half.safetensors")
    network = load_published(tmp_path / "half.safetensors", build(), layout)
    assert network.state_dict()["norm.weight"].dtype == torch.float32
    assert torch.equal(network.state_dict()["norm.weight"], state["norm.weight"].float())


def test_a_file_in_our_own_names_loads_as_well(tmp_path: Path) -> None:
    build, layout = CASES["ear_adaln31_tiny"]
    first, second = build(), build()
    load_published(saved(tmp_path, first.state_dict()), second, layout)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


class Payload:
    """A pickle that runs a command when it is loaded carelessly."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def test_a_pickle_with_code_is_refused_and_never_run(tmp_path: Path) -> None:
    build, layout = CASES["llamagen_gpt_tiny"]
    mark = tmp_path / "ran"
    path = saved(tmp_path, {"model": state_of("llamagen_gpt_tiny"), "payload": Payload(mark)})
    with pytest.raises(ArbenchError, match=r"checkpoint.pt are refused: they hold \w+.system, which is no tensor"):
        load_published(path, build(), layout)
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 10, 3000])
def test_a_truncated_file_is_told_in_one_line(keep: int, tmp_path: Path) -> None:
    build, layout = CASES["llamagen_gpt_tiny"]
    path = saved(tmp_path, {"model": state_of("llamagen_gpt_tiny")})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArbenchError, match=r"weights .*checkpoint.pt") as caught:
        load_published(path, build(), layout)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_is_not_taken_for_code(tmp_path: Path) -> None:
    build, layout = CASES["llamagen_gpt_tiny"]
    (tmp_path / "page.pt").write_text("<html>moved</html>")
    with pytest.raises(ArbenchError, match=r"cannot read weights .*page.pt"):
        load_published(tmp_path / "page.pt", build(), layout)


@pytest.mark.parametrize("content", [{"steps": 3}, [1, 2], torch.zeros(3), {"model": {"a": 1}}])
def test_a_file_without_a_state_dict_is_told(content: Any, tmp_path: Path) -> None:
    build, layout = CASES["llamagen_gpt_tiny"]
    with pytest.raises(ArbenchError, match="hold no dictionary of tensors"):
        load_published(saved(tmp_path, content), build(), layout)


def test_every_published_file_of_every_preset_is_known() -> None:
    wanted = {preset.weights for method in (Raster, VAR, EAR) for preset in method.presets.values() if preset.weights}
    assert wanted | {entry.file for entry in PUBLISHED.values()} == set(FILES)


def test_building_without_first_values_leaves_tables_alone() -> None:
    build, _ = CASES["ear_adaln31_tiny"]
    with Uninitialised():
        network = build()
    assert torch.equal(network.get_buffer("rope"), build().get_buffer("rope"))
    assert torch.equal(network.get_buffer("order"), build().get_buffer("order"))
