"""What `nox -s gpu` reads off the figures of the stages, on made figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import registry
from harness.machine import gpu
from harness.stages.generate.shards import Arrays
from tests.official import speed as official_speed
from tests.official.models import MODELS
from tests.official.speed import OURS, OURS_CAPTURED, THEIRS, THEIRS_COMPILED
from tests.programs.gpu import agree, official, same, sparse, speed
from tests.programs.gpu.lines import FAILED, HELD, MISSED, NOT_MEASURED, SEEN, Line, judged
from tests.programs.gpu.settings import REAL
from tests.programs.gpu.trials import COMPARED, FMNIST, Pixels, groups, share_alike

RATES = {"bandwidth": 1e12, "matrix": 1e14}
FLOPS = {
    "by_step": [1e12, 1e12],
    "decoder_macs": 1e12,
    "bytes": {"weights": [1e9, 1e9], "cache": [0.0, 0.0], "decoder": 1e9},
}


def timed(total: float, decoder: float, batch: int, width: float = 0.01, noisy: bool = False) -> dict[str, Any]:
    """One batch size of a timing; width: half of the interval's, as a share of the median."""
    return {
        "total_s": total,
        "tokens_s": total - decoder,
        "decoder_s": decoder,
        "interval": [total * (1 - width), total * (1 + width)],
        "noisy": noisy,
        "why": "4 % steal" if noisy else None,
        "batch": batch,
        "gpu": None,
        "joules_per_image": None,
        "joules_per_image_interval": None,
        "samples": [total * (1 + 0.001 * (place % 3)) for place in range(13)],
        "decoder_samples": [decoder] * 13,
    }


def timing(one: float = 0.1, many: float = 8.0, **changed: Any) -> dict[str, Any]:
    """The timing of a captured case on a GPU; half of each time is the decoder's."""
    return {
        "latency": timed(one, one / 2, 1),
        "throughput": timed(many, many / 2, 64),
        "capture": {"mode": "graph", "why": None, "seconds": 3.0, "alike": 1.0},
        "eager": {"latency": timed(4 * one, one, 1), "throughput": timed(2 * many, many, 64)},
        "rates": RATES,
        "device": "cuda:0",
        "session": "a session",
        **changed,
    }


def by_name(lines: list[Line], words: str) -> Line:
    """The line whose name has these words."""
    (found,) = [line for line in lines if words in line.name]
    return found


def test_a_captured_model_has_both_clocks_its_interval_its_noise_and_its_floor() -> None:
    lines = speed.of_model("VAR-d16", {"timing": timing(), "flops": FLOPS}, 0.2)
    assert by_name(lines, "batch 1, graph").figure == "100 ms [99, 101]; not captured 400 ms [396, 404]"
    assert by_name(lines, "half-width").figure == "1 %"
    assert by_name(lines, "noisy").figure == "0 of 2"
    assert by_name(lines, "same tokens captured").verdict == HELD
    # Two steps and the decoder, each 2e12 FLOPs at 1e14 a second: 60 ms, of 100.
    floor = by_name(lines, "share of the floor")
    assert floor.value == pytest.approx(0.6)
    # 4e12 FLOPs an image, 64 images, in 4 s, of 1e14 a second; the decoder has half of them.
    assert by_name(lines, "tokens at batch 64").value == pytest.approx(0.64)
    assert by_name(lines, "decoder at batch 64").value == pytest.approx(0.32)
    assert by_name(lines, "decoder at batch 64").verdict == MISSED


def test_a_wide_or_noisy_time_is_missed_and_says_why() -> None:
    wide = timing(latency=timed(0.1, 0.05, 1, 0.04, noisy=True))
    lines = speed.of_model("EAR-B", {"timing": wide, "flops": FLOPS}, 0.2)
    assert by_name(lines, "half-width").verdict == MISSED
    assert by_name(lines, "noisy").figure == "1 of 2 (4 % steal)"
    assert by_name(lines, "noisy").verdict == MISSED


def test_a_model_that_was_not_captured_is_a_fault() -> None:
    off = timing(capture={"mode": "off", "why": "how much work there is depends", "alike": 1.0}, eager=None)
    lines = speed.of_model("EAR-B", {"timing": off, "flops": FLOPS}, 0.2)
    assert {line.verdict for line in lines} == {SEEN, FAILED}
    assert by_name(lines, ": captured").figure == "how much work there is depends"
    (broken,) = speed.of_model("EAR-B", {"timing": {"failure": "out of memory"}, "flops": FLOPS}, 0.2)
    assert (broken.verdict, broken.figure) == (FAILED, "out of memory")


def test_without_the_devices_rates_shares_are_a_fault() -> None:
    lines = speed.of_model("VAR-d16", {"timing": timing(rates=None), "flops": FLOPS}, 0.2)
    shares = [line for line in lines if line.number == "2"]
    assert len(shares) == 3
    assert {line.verdict for line in shares} == {FAILED}


@pytest.mark.parametrize("method", ["actvar", "var-static"])
@pytest.mark.parametrize("preset", ["fmnist", "imagenet256-d16"])
def test_the_sparsity_saves_the_stated_share_of_the_tokens_flops(method: str, preset: str) -> None:
    found = sparse.sparsity_for(method, preset, sparse.SAVED)
    owner, dense = registry.get(method), sparse.tokens_macs(registry.get("var"), preset, {})

    def saved(sparsity: float) -> float:
        knobs = {"ffn_sparsity": sparsity, "ffn_tilt": sparse.TILT}
        return 1 - sparse.tokens_macs(owner, preset, knobs) / dense

    assert 0.21 <= saved(found) < 0.215
    assert saved(found - 0.001) < 0.21


def test_sparse_times_are_those_of_the_tokens_alone_relative_to_vars() -> None:
    lines: list[Line] = []
    for name, time in zip(sparse.BOUNDS, (1.02, 0.85, 1.5), strict=True):
        one = timing()
        for kind, total in (("latency", 0.1), ("throughput", 8.0)):
            one[kind] = timed(total / 2 + time * total / 2, total / 2, one[kind]["batch"])
        dense = {"tokens_macs": 100.0, "timing": timing()}
        lines += sparse.lines_of(name, {sparse.DENSE: dense, name: {"tokens_macs": 79.0, "timing": one}})
    first, second, third = (f"{name}: time of the tokens, batch" for name in sparse.BOUNDS)
    assert by_name(lines, f"{first} 64").verdict == MISSED
    assert by_name(lines, f"{first} 1,").verdict == HELD
    assert by_name(lines, f"{second} 64").verdict == HELD
    assert by_name(lines, f"{second} 64").value == pytest.approx(0.85, rel=0.01)
    assert by_name(lines, f"{third} 1,").verdict == MISSED
    assert [line.figure for line in lines if "saved" in line.name and line.verdict == SEEN][0] == "21.0%"


def test_a_sparse_case_or_var_that_broke_is_named() -> None:
    name = "ActVAR, token sparsity .5"
    fine, broken = ({"tokens_macs": 79.0, "timing": one} for one in (timing(), {"failure": "no graph"}))
    (line,) = sparse.lines_of(name, {sparse.DENSE: fine, name: broken})
    assert (line.verdict, line.name, line.figure) == (FAILED, f"{name}: time of {name}", "no graph")
    (line,) = sparse.lines_of(name, {sparse.DENSE: broken, name: fine})
    assert (line.verdict, line.name) == (FAILED, f"{name}: time of VAR-d16")


def test_every_bundled_method_is_among_the_trials_whose_images_are_compared() -> None:
    ours = {
        name for name in registry.names() if registry.get(name).__module__.split(".")[0] in ("methods", "baselines")
    }
    assert {method for method, _ in FMNIST} == ours


def test_a_line_shows_the_trial_that_does_worst() -> None:
    bad = same.worst("fmnist, fp32: same images", {"var": 1.0, "ear": 0.75, "actvar": 0.9})
    assert (bad.verdict, bad.figure) == (MISSED, "75 % (ear)")
    good = same.worst("fmnist, fp32: same images", {"var": 1.0, "ear": 1.0})
    assert (good.verdict, good.figure) == (HELD, "100 %")


def arrays(**changed: Any) -> Arrays:
    """Four images."""
    return {name: np.arange(4)[:, None] if "pixels" in name else np.arange(4) for name in COMPARED} | changed


def test_an_image_is_the_same_if_tokens_steps_labels_and_pixels_are() -> None:
    assert share_alike(arrays(), arrays()) == 1
    assert share_alike(arrays(), arrays(steps=np.array([0, 1, 2, 9]))) == 0.75
    assert share_alike(arrays(), arrays(**{"features pixels": np.array([[0], [9], [9], [3]])})) == 0.5


def test_pixels_tell_images_apart_by_a_single_byte() -> None:
    images = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    images[2, 0, 3, 3] = 1
    one, two, three = Pixels().see(images)["features"][:, 0].tolist()
    assert one == two != three


def test_scores_outside_of_the_other_sides_intervals_are_named() -> None:
    ours = {"fid": {"fmnist-cnn": 3.0}, "kid": 0.1, "intervals": {"fid": {"fmnist-cnn": [2.9, 3.1]}, "kid": [0.0, 0.2]}}
    assert agree.outside(ours, {"fid": {"fmnist-cnn": 3.05}, "kid": 0.2}) == {"scores": 2, "outside": []}
    found = agree.outside(ours, {"fid": {"fmnist-cnn": 3.2}, "kid": None})
    assert found == {"scores": 1, "outside": ["fid.fmnist-cnn"]}
    lines = agree.lines_of("fmnist, var", {"alike": 0.985, **found})
    assert [line.verdict for line in lines] == [MISSED, MISSED]
    assert lines[1].figure == "1 of 1 (fid.fmnist-cnn)"


def test_features_are_compared_by_size() -> None:
    one = torch.tensor([3.0, 4.0])
    assert agree.relative(one, one) == 0
    assert agree.relative(one, torch.tensor([3.0, 4.05])) == pytest.approx(0.01, rel=1e-5)


def test_on_a_gpu_ours_is_captured_and_theirs_compiled_where_their_script_compiles() -> None:
    assert (
        official_speed.sides(MODELS["VAR"], "cpu") == official_speed.sides(MODELS["LlamaGen"], "cpu") == [THEIRS, OURS]
    )
    assert official_speed.sides(MODELS["VAR"], "cuda") == [THEIRS, OURS, OURS_CAPTURED]
    assert official_speed.sides(MODELS["LlamaGen"], "cuda:1") == [THEIRS, THEIRS_COMPILED, OURS, OURS_CAPTURED]


def test_targets_are_those_of_the_issue() -> None:
    assert {name: dict(model.captured) for name, model in MODELS.items()} == {
        "LlamaGen": {1: 15, 64: 5},
        "EAR-adaLN": {1: 13, 64: 5},
        "VAR": {1: 5, 64: 2},
    }


def test_only_our_fastest_side_has_a_target() -> None:
    times = {THEIRS: [3.0, 3.2, 3.1], THEIRS_COMPILED: [0.3] * 3, OURS: [1.5] * 3, OURS_CAPTURED: [0.2] * 3}
    found = {(one.ours, one.theirs): one for one in official_speed.ratios(MODELS["LlamaGen"], 1, times)}
    assert found[OURS, THEIRS].target is None
    assert found[OURS_CAPTURED, THEIRS].value == pytest.approx(15.5)
    assert not found[OURS_CAPTURED, THEIRS].missed
    assert found[OURS_CAPTURED, THEIRS_COMPILED].target == 1.5
    (on_cpu,) = official_speed.ratios(MODELS["LlamaGen"], 4, {THEIRS: [3.0], OURS: [2.0]})
    assert (on_cpu.value, on_cpu.target, on_cpu.missed) == (1.5, 2.0, True)


def test_their_times_stand_against_ours_of_the_same_run() -> None:
    ours = timing(one=0.2, many=1.0)
    single, many = official.lines_of("LlamaGen", THEIRS, {1: [3.2], 64: [3.5]}, ours)
    assert (single.verdict, many.verdict) == (HELD, MISSED)
    assert [single.value, many.value] == pytest.approx([16, 3.5])
    compiled, _ = official.lines_of("LlamaGen", THEIRS_COMPILED, {1: [0.31], 64: [3.5]}, ours)
    assert (compiled.bound, compiled.verdict) == ("at least 1.5 times", HELD)
    assert {line.verdict for line in official.lines_of("VAR", THEIRS, {1: [0.1], 64: [0.5]}, {})} == {FAILED}


def test_the_authors_compiled_code_comes_last() -> None:
    sides = official.order()
    assert sides[-1] == ("LlamaGen", THEIRS_COMPILED)
    assert [side for _, side in sides[:-1]] == [THEIRS] * len(MODELS)


def test_what_breaks_in_the_authors_code_is_not_measured_and_what_breaks_in_ours_is_a_fault(tmp_path: Path) -> None:
    theirs = official_speed.BrokenError("exit code 1", f'File "{tmp_path.resolve()}/models/gpt.py", line 3\nNo timm')
    assert official.fault("EAR-B: official", theirs, tmp_path).verdict == NOT_MEASURED
    assert "the authors' code broke: exit code 1" in official.fault("EAR-B: official", theirs, tmp_path).figure
    ours = official_speed.BrokenError("exit code 1", 'File "tests/official/one.py", line 3')
    assert official.fault("EAR-B: official", ours, tmp_path).verdict == FAILED
    late = official_speed.BrokenError("not done after 90 s")
    assert official.fault("EAR-B: official", late, tmp_path).verdict == FAILED


def test_what_nvml_says_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    state = dict.fromkeys(gpu.RANGES) | {"sm_mhz": [1700.0, 1755.0, 1980.0], "readings": 13, "others": 0}
    state["reasons"] = {"power cap": 5}
    one = timing()
    one["latency"]["gpu"] = one["throughput"]["gpu"] = state
    one["throughput"] |= {"joules_per_image": 1.234, "joules_per_image_interval": [1.2, 1.3]}
    monkeypatch.setattr(speed, "missing", lambda names: [])
    (line,) = speed.conditions("EAR-B", one)
    assert (line.number, line.verdict, line.value) == ("6", SEEN, 1.234)
    assert line.figure == (
        "1.23 J an image [1.2, 1.3]; the GPU was throttled (power cap in 5 of 13 samples); SM clock 1755 MHz"
    )
    (silent,) = speed.conditions("EAR-B", timing())
    assert silent.figure == "NVML did not answer; energy unknown"
    monkeypatch.setattr(speed, "missing", lambda names: ["pynvml"])
    (lacking,) = speed.conditions("EAR-B", timing())
    assert lacking.verdict == NOT_MEASURED


def test_every_bound_of_the_program_is_the_issues() -> None:
    """Issue 17, acceptance on an H100."""
    lines = [line for name, least in REAL.floors.items() for line in shown_of(name, least)]
    sparsely = {"tokens_macs": 79.0, "timing": timing()}
    for name in sparse.BOUNDS:
        lines += sparse.lines_of(name, {sparse.DENSE: sparsely, name: sparsely})
    lines += agree.lines_of("fmnist, var", {"alike": 1.0, "scores": 3, "outside": []})
    lines.append(same.worst("same images", {"var": 1.0}))
    lines.append(judged("4", "features", agree.FEATURES, 0.0))
    for name, model in MODELS.items():
        for side in (THEIRS, *([THEIRS_COMPILED] if model.compiles else [])):
            lines += official.lines_of(name, side, {1: [1.0], 64: [1.0]}, timing())
    found = {line.name: line.bound for line in lines if line.bound}
    assert found == {
        **{f"{name}: half-width of the interval of latency": "at most 3 %" for name in REAL.floors},
        **{f"{name}: noisy times": "at most 0" for name in REAL.floors},
        **{f"{name}: same tokens captured and not": "at least 100 %" for name in REAL.floors},
        "VAR-d16: share of the floor, batch 1": "at least 20 %",
        "EAR-B: share of the floor, batch 1": "at least 20 %",
        "LlamaGen-B: share of the floor, batch 1": "at least 25 %",
        "VAR-d16: tokens at batch 64, of the matrix rate": "at least 50 %",
        "VAR-d16: decoder at batch 64, of the matrix rate": "at least 35 %",
        "ActVAR, 21 % of FLOPs saved: time of the tokens, batch 64, of VAR-d16's": "at most 1 times",
        "ActVAR, token sparsity .5: time of the tokens, batch 64, of VAR-d16's": "at most 0.9 times",
        "VAR-static, 21 % of FLOPs saved: time of the tokens, batch 64, of VAR-d16's": "at most 0.9 times",
        **{f"{name}: time of the tokens, batch 1, of VAR-d16's": "at most 1.1 times" for name in sparse.BOUNDS},
        "fmnist, var, fp32: same images on CPU and GPU": "at least 99 %",
        "fmnist, var, fp32: scores on the GPU outside of the CPU's intervals": "at most 0",
        "same images": "at least 100 %",
        "features": "at most 1e-05",
        "LlamaGen-B, batch 1: as fast as the official code": "at least 15 times",
        "LlamaGen-B, batch 64: as fast as the official code": "at least 5 times",
        "LlamaGen-B, batch 1: as fast as the official, compiled code": "at least 1.5 times",
        "LlamaGen-B, batch 64: as fast as the official, compiled code": "at least 1.5 times",
        "EAR-B, batch 1: as fast as the official code": "at least 13 times",
        "EAR-B, batch 64: as fast as the official code": "at least 5 times",
        "VAR-d16, batch 1: as fast as the official code": "at least 5 times",
        "VAR-d16, batch 64: as fast as the official code": "at least 2 times",
    }
    assert {line.number for line in lines if line.timed} == {"1", "2", "5"}
    assert {line.number for line in lines if line.bound and not line.timed} == {"1", "3", "4"}
    assert sparse.SAVED == 0.21
    assert REAL.cuts == (3, 8)
    assert REAL.draws == (64, 256, 4096, 900)
    assert REAL.batch == 64


def shown_of(name: str, least: float) -> list[Line]:
    """The lines of a model in the part ``speed``."""
    return speed.of_model(name, {"timing": timing(), "flops": FLOPS}, least)


def test_images_are_cut_where_neither_batches_nor_shards_end() -> None:
    cut = list(groups(REAL))
    sizes = {
        (trial.setup.precision, trial.method, trial.images, trial.setup.compute_batch)
        for one in cut
        for trial in one.trials
    }
    assert ("bf16", "var", 141, 64) in sizes
    assert {images for _, _, images, _ in sizes} == {1003, 50, 141}
    for _, _, images, size in sizes:
        assert images % size
        assert images > 2 * size, "a process that is killed has a second shard"
    assert [one.name.partition(",")[0] for one in cut if one.killed] == ["fmnist", "fmnist", *REAL.presets]


def test_a_process_of_the_comparison_is_told_all_that_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    commands: list[list[str]] = []

    class Done:
        returncode, stdout, stderr = 0, 'warning\n{"1": [0.5], "64": [2.0]}\n', ""

    def noted(command: list[str], **_: Any) -> Done:
        commands.append(command)
        return Done()

    monkeypatch.setattr("tests.official.speed.subprocess.run", noted)
    asked = official_speed.Asked("cuda", "bf16", (1, 64), 8, 3)
    assert official_speed.seconds("VAR", tmp_path, OURS_CAPTURED, asked) == {1: [0.5], 64: [2.0]}
    official_speed.seconds("LlamaGen", tmp_path, THEIRS_COMPILED, asked)
    ours, theirs = (" ".join(command) for command in commands)
    assert "--how captured --device cuda --precision bf16 --batch 1 64 --threads 8 --repeats 3" in ours
    assert "--checkout" not in ours
    assert (
        f"--how compiled --device cuda --precision bf16 --batch 1 64 --threads 8 --repeats 3 --checkout {tmp_path}"
        in theirs
    )
