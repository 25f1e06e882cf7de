"""The published presets at full size, through files in the published layout, against what the official code gave.

Needs a folder (ARBENCH_FULL_SIZE) with checkpoints in the published layout, beside each the official outputs as
NAME.safetensors and NAME.json, as for the tiny fixtures: 4 GB, so it is not part of the project, and these tests run
only where they are named: `nox -s tests -- tests/full_size`. Minutes on a CPU.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from baselines import next_set, raster, var
from baselines.raster import Raster
from baselines.tokenizers.convnet import to_unit
from baselines.tokenizers.recipes import load_tokenizer
from baselines.var import VAR
from harness.method import Method
from harness.sampling import Sampling
from methods.ear import EAR
from tests.published import uniform
from tests.unit.test_published_networks import close, step_logits

FOLDER = Path(os.environ["ARBENCH_FULL_SIZE"])


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are looked for in the folder."""
    monkeypatch.setenv("ARBENCH_WEIGHTS", str(FOLDER))


def outputs(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Official outputs, and what is known of them."""
    return load_file(FOLDER / f"{name}.safetensors"), json.loads((FOLDER / f"{name}.json").read_text())


def teacher_forced(method: Any, found: dict[str, Tensor]) -> Tensor:
    """Logits of all positions, in the order of decoding."""
    tokens, labels, network = found["tokens"], found["labels"], method.network
    with torch.no_grad():
        if isinstance(method, VAR):
            return network.logits(method.quantiser.inputs(tokens), labels)
        if isinstance(method, EAR):
            sizes = method.sizes(method.resolve({}, method.preset.name))
            return network.logits(tokens, labels, sizes)[:, network.order]
        return network.logits(tokens, labels)


@pytest.mark.parametrize(
    ("owner", "module", "preset", "name"),
    [
        (Raster, raster, "imagenet256-b", "c2i_B_256"),
        (EAR, next_set, "imagenet256-b", "EAR-adaLN-B"),
        (VAR, var, "imagenet256-d16", "var_d16"),
    ],
)
def test_a_preset_is_the_published_model(
    owner: type[Method], module: Any, preset: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, about = outputs(name)
    method: Any = owner.load(preset)
    assert close(teacher_forced(method, found)[:, about["keep"]], found["teacher_forced"])
    knobs = owner.resolve({}, preset)
    order = method.network.order if owner is EAR else torch.arange(method.positions)
    noise = torch.empty_like(found["noise"])
    noise[:, order] = found["noise"]
    ramp, base = ("ramp", 1.0) if owner is VAR else ("constant", 0.0)
    for key in found:
        if key.startswith("greedy_cfg"):
            sampling = Sampling(base + float(key[10:]), ramp, top_k=1)
            assert torch.equal(method.sample(found["labels"], noise, knobs, sampling).tokens, found[key]), key
    cfg, top_k, _ = about["margins"]["drawn_cfg_topk_topp"]
    seen = step_logits(module, monkeypatch)
    drawn = method.sample(found["labels"], noise, knobs, Sampling(base + cfg, ramp, top_k=top_k)).tokens
    assert torch.equal(drawn, found["drawn"])
    assert close(torch.cat(seen, 1)[:, about["keep"]], found["steps_drawn"])
    if "image_drawn" in found:
        assert (method.decode(drawn) - found["image_drawn"]).abs().max() < 1 / 255


@pytest.mark.parametrize(
    ("tokenizer", "decoded", "encoded", "raw"),
    [
        ("vq_ds16", "vq_ds16_c2i_16", "vq_ds16_c2i_encode", True),
        ("vae_ch160v4096z32", "var_d16", "vae_ch160v4096z32", False),
        ("xqgan-8192", "XQGAN-8192", "XQGAN-8192", True),
    ],
)
def test_a_tokenizer_is_the_published_one(tokenizer: str, decoded: str, encoded: str, raw: bool) -> None:
    module = load_tokenizer(tokenizer)
    images = torch.from_numpy(uniform("images", (1, 3, 256, 256)))
    found = outputs(decoded)[0]
    expected = to_unit(found["decoded"]) if raw else found["decoded"]
    with torch.inference_mode():
        assert (module.decode(found["tokens"]) - expected).abs().max() < 1 / 255
        found = outputs(encoded)[0]
        assert (module.encoder(images) - found["encoded"]).abs().max() < 1e-3
        assert (module.encode(images * 0.5 + 0.5) == found["codes"]).double().mean() > 0.999


def test_the_24x24_tokenizer_is_the_published_one() -> None:
    module = load_tokenizer("vq_ds16-384")
    found = outputs("vq_ds16_c2i_24")[0]
    with torch.inference_mode():
        raw = module.decoder(module.quantiser.lookup(found["tokens"]))
        assert (to_unit(raw) - to_unit(found["decoded"])).abs().max() < 1 / 255
        assert module.decode(found["tokens"]).shape == (1, 3, 256, 256)
