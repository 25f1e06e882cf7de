"""``arbench flops``: costs from the architecture alone, and by counting where content decides."""

import json

import pytest

from harness.cli.command import main
from harness.sampling import Sampling
from harness.stages.flops.costs import costs
from methods.ear import EAR


def test_the_command_tells_cost_by_part_and_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flops", "var", "--preset", "imagenet256-d30", "--set", "cfg=1", "--steps"]) == 0
    shown = capsys.readouterr().out
    assert "network 2,010,020,356, tokenizer 108,948,355" in shown
    assert "as the published code computes it: 947.53 GMACs a branch" in shown
    assert "one branch, no guidance" in shown and "FLOPs = 2 x MACs" in shown
    assert [line.split()[0] for line in shown.partition("step ")[2].splitlines()[1:11]] == [
        str(n) for n in range(1, 11)
    ]


def test_guidance_doubles_all_but_the_tokenizer(capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for cfg in ("1", "2"):
        assert main(["flops", "raster", "--preset", "imagenet256-3b", "--set", f"cfg={cfg}", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    one, two = found
    assert all(two["macs"][part] == macs * (1 if part == "tokenizer" else 2) for part, macs in one["macs"].items())
    assert one["flops"] == 2 * sum(one["macs"].values())


def test_a_check_counts_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flops", "ear", "--preset", "fmnist", "--check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counted"] == {part: macs for part, macs in found["macs"].items() if macs}


def test_cost_that_depends_on_content_is_counted_on_random_weights() -> None:
    found = costs(EAR, "fmnist", EAR.resolve({"adaptive": 5.0}), Sampling())
    assert found["data_dependent"] and found["macs"] == found["counted"] and found["steps"] == []
    assert found["macs"]["ffn"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eer", "--preset", "fmnist"], "unknown method 'eer'; did you mean 'ear'?"),
        (["ear", "--preset", "imagenet256-xxl"], "unknown preset of ear 'imagenet256-xxl'"),
        (["ear", "--preset", "fmnist", "--set", "stps=3"], "unknown knob of ear 'stps'; did you mean 'steps'?"),
        (
            ["ear", "--preset", "fmnist", "--set", "steps=50"],
            "knob steps = 50 is out of range (valid: int from 1 to 49)",
        ),
        (["ear", "--preset", "fmnist", "--set", "steps"], "--set 'steps' is not NAME=VALUE"),
        (["ear", "--preset", "fmnist", "--set", "seed=3"], "--set seed: a cost does not depend on it"),
        (["ear", "--preset", "fmnist", "--precision", "fp8"], "unknown precision 'fp8' (valid: bf16, fp32)"),
        (["ear", "--preset", "fmnist", "--rates", "0", "1"], "rates 0 and 1e+12 are out of range (valid: above 0)"),
        (["ear", "--preset", "fmnist", "--set", "cfg=x"], "sampling: cfg = 'x' is not of type float"),
        (["ear", "--preset", "fmnist", "--set", "schedule=rings"], "schedule rings takes 7 steps on 49 places, not 13"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flops", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_the_command_tells_bytes_and_the_floors_of_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["flops", "ear", "--preset", "fmnist", "--set", "steps=7", "--precision", "bf16", "--rates", "0.5", "2"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    read, batch = found["bytes"], found["floors"]["64"]
    assert (found["precision"], len(read["weights"]), len(read["cache"])) == ("bf16", 7, 7)
    steps = zip(read["weights"], read["cache"], found["by_step"], strict=True)
    assert batch["tokens"] == pytest.approx(
        sum(max((weights + 64 * cache) / 0.5e12, 128 * macs / 2e12) for weights, cache, macs in steps)
    )
    assert batch["decoder"] == pytest.approx(max(read["decoder"] / 0.5e12, 128 * found["decoder_macs"] / 2e12))
    assert main([*words, "--steps"]) == 0
    shown = capsys.readouterr().out
    assert f"{'tokens':<12}{sum(read['weights']) / 1e6:>12,.1f}{sum(read['cache']) / 1e6:>12,.1f}" in shown
    assert f"batch 64    {1e3 * batch['tokens']:>12,.2f}" in shown
    assert "activations" in shown and "read, bf16" in shown


def test_bytes_follow_the_presets_precision_unless_another_is_asked_for() -> None:
    knobs, sampling = EAR.resolve({}), Sampling()
    whole, half = (costs(EAR, "fmnist", knobs, sampling, precision=precision) for precision in ("fp32", "bf16"))
    assert whole["bytes"]["cache"] == [2 * one for one in half["bytes"]["cache"]]
    assert costs(EAR, "fmnist", knobs, sampling)["bytes"] is None
