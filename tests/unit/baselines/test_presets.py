"""The presets for ImageNet: sizes and costs as published, and settings of their own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from baselines.raster import Raster
from baselines.tokenizers.recipes import new_tokenizer
from baselines.var import VAR
from harness.errors import ArbenchError
from harness.method import KnobValue, Method
from harness.sampling import Sampling
from harness.stages.flops.costs import costs
from harness.trial import Trial
from methods.ear import EAR

PARAMETERS: dict[tuple[type[Method], str], int] = {
    (Raster, "imagenet256-b"): 110_888_448,
    (Raster, "imagenet256-l"): 342_910_976,
    (Raster, "imagenet256-xl"): 774_699_520,
    (Raster, "imagenet256-xxl"): 1_410_972_672,
    (Raster, "imagenet256-3b"): 3_096_659_200,
    (Raster, "imagenet384-xl"): 774_699_520,
    (VAR, "imagenet256-d16"): 310_283_520,
    (VAR, "imagenet256-d20"): 600_917_136,
    (VAR, "imagenet256-d24"): 1_033_399_360,
    (VAR, "imagenet256-d30"): 2_010_020_356,
    (VAR, "imagenet512-d36"): 2_353_893_904,
    (EAR, "imagenet256-b"): 140_828_928,
    (EAR, "imagenet256-l"): 477_277_184,
    (EAR, "imagenet256-xl"): 1_107_900_160,
}
"""Counted on the official modules."""

GMACS: list[tuple[type[Method], str, dict[str, KnobValue], float]] = [
    (VAR, "imagenet256-d16", {}, 150.2),
    (VAR, "imagenet256-d20", {}, 287.6),
    (VAR, "imagenet256-d24", {}, 490.9),
    (VAR, "imagenet256-d30", {}, 947.5),
    (Raster, "imagenet256-b", {}, 26.2),
    (Raster, "imagenet256-l", {}, 86.5),
    (Raster, "imagenet256-xl", {}, 198.8),
    (Raster, "imagenet256-xxl", {}, 364.3),
    (Raster, "imagenet256-3b", {}, 788.8),
    (EAR, "imagenet256-b", {}, 49.0),
    (EAR, "imagenet256-l", {}, 168.3),
    (EAR, "imagenet256-xl", {}, 391.5),
    (EAR, "imagenet256-b", {"steps": 16, "schedule": "rings"}, 46.9),
    (EAR, "imagenet256-l", {"steps": 16, "schedule": "rings"}, 161.1),
    (EAR, "imagenet256-xl", {"steps": 16, "schedule": "rings"}, 374.7),
]
"""Of one image and one branch without the decoder, by the authors' way of computing: facts/METHODS.md."""


@pytest.mark.parametrize(("method", "preset"), PARAMETERS)
def test_a_preset_has_the_published_number_of_parameters(method: type[Method], preset: str) -> None:
    with torch.device("meta"):
        network = method.build(preset).network
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[method, preset]


@pytest.mark.parametrize(
    ("name", "parameters"), [("vq_ds16", 71_883_403), ("vae_ch160v4096z32", 108_948_355), ("xqgan-8192", 172_238_880)]
)
def test_a_tokenizer_has_the_published_number_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in new_tokenizer(name).parameters()) == parameters


@pytest.mark.parametrize(("method", "preset", "knobs", "gmacs"), GMACS)
@pytest.mark.parametrize("cfg", [1.0, 1.5])
def test_a_preset_costs_what_the_facts_say(
    method: type[Method], preset: str, knobs: dict[str, KnobValue], gmacs: float, cfg: float
) -> None:
    sampling = replace(method.presets[preset].sampling, cfg=cfg)
    found = costs(method, preset, method.resolve(knobs, preset), sampling)
    tokens = sum(macs for part, macs in found["published"].items() if part != "tokenizer")
    assert tokens / found["branches"] / 1e9 == pytest.approx(gmacs, rel=0.005)
    assert sum(found["macs"].values()) <= sum(found["published"].values())


@pytest.mark.parametrize("method", [Raster, EAR, VAR])
def test_steps_and_what_is_done_once_make_up_an_image(method: type[Method]) -> None:
    for preset in method.presets:
        knobs, sampling = method.resolve({}, preset), method.presets[preset].sampling
        found = costs(method, preset, knobs, sampling)
        steps = {part: sum(step.get(part, 0) for step in found["steps"]) for part in found["macs"]}
        assert all(steps[part] == found["macs"][part] for part in ("attention", "ffn", "head"))
        assert all(steps[part] <= found["macs"][part] for part in found["macs"])


@pytest.mark.slow
@pytest.mark.parametrize(("method", "preset"), [(EAR, "imagenet256-b"), (VAR, "imagenet256-d16")])
def test_what_runs_is_the_closed_form(method: type[Method], preset: str) -> None:
    found = costs(method, preset, method.resolve({}, preset), method.presets[preset].sampling, check=True)
    assert found["counted"] == {part: macs for part, macs in found["macs"].items() if macs}


def test_the_published_schedules_have_31_and_16_parts() -> None:
    with torch.device("meta"):
        method = EAR.build("imagenet256-b")
    by_default = method.sizes(EAR.resolve({}, "imagenet256-b"))
    assert by_default == [1, *(size for k in range(1, 16) for size in (k, k + 1))] and len(by_default) == 31
    assert method.sizes(EAR.resolve({"steps": 16, "schedule": "rings"}, "imagenet256-b")) == list(range(1, 32, 2))


def test_a_knob_has_the_range_and_default_of_its_preset() -> None:
    assert EAR.resolve({}, "fmnist")["steps"] == 13
    assert EAR.resolve({}, "imagenet256-b") == {"steps": 31, "schedule": "half-rings", "adaptive": 0.0}
    assert EAR.resolve({"steps": 256}, "imagenet256-b")["steps"] == 256
    with pytest.raises(ArbenchError, match="valid: int from 1 to 49"):
        EAR.resolve({"steps": 256}, "fmnist")


def test_a_trials_name_tells_what_differs_from_its_preset() -> None:
    assert Trial.of("ear", "imagenet256-b").name == "ear[preset=imagenet256-b,steps=31,adaptive=0,cfg=1.65,seed=0]"
    rings = Trial.of("ear", "imagenet256-b", {"steps": 16, "schedule": "rings"})
    assert "schedule=rings" in rings.name
    assert Trial.parse(rings.name, rings.images) == rings


def test_guidance_is_each_papers_own() -> None:
    assert VAR.presets["imagenet256-d16"].sampling == Sampling(2.5, "ramp", top_k=900, top_p=0.96)
    assert [Raster.presets[f"imagenet256-{size}"].sampling.cfg for size in ("b", "xl", "3b")] == [2.0, 1.75, 1.65]


def test_weights_that_are_not_there_are_told_with_the_ways_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(
        ArbenchError, match=r"var_d16.pth.*'arbench weights fetch var/imagenet256-d16'.*ARBENCH_WEIGHTS"
    ):
        VAR.load("imagenet256-d16")
    with pytest.raises(ArbenchError, match=r"raster-imagenet256-xl.safetensors|vq_ds16_c2i.pt"):
        Raster.load("imagenet256-xl")
