"""Comparisons: what two trials share cancels, chance is not taken for a difference, a difference is found."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import cli
from harness.records.comparison import differences, in_words, moved
from harness.records.store import REPLICATES, Store
from tests.helpers import fakes_store
from tests.helpers.fakes_cuda import CONTENT, SLOWER, on_cuda

NOISE = np.random.default_rng(0).standard_normal((3, 1000))
FID = "fid.fmnist-cnn"


def trial(fid: float, spread: float, shared: float = 0.0, place: int = 0, **changes: Any) -> tuple[Any, Any]:
    """A record whose FID has ``spread``; ``shared``: of what all trials with these images have in common."""
    record = copy.deepcopy(fakes_store.records()[0])
    record["quality"]["fid"]["fmnist-cnn"] = fid
    record["trial"] |= changes
    own = fid + spread * NOISE[place] + shared * NOISE[2]
    return record, {"labels": np.arange(5000) % 10, REPLICATES + FID: own.astype(np.float32)}


def of(found: Any, figure: str) -> Any:
    return next(one for one in found if one.figure == figure)


def test_what_two_trials_share_does_not_blur_their_difference() -> None:
    one, other = trial(10.0, 0.05, shared=1.0), trial(10.3, 0.05, shared=1.0, place=1)
    found = of(differences(one, other), FID)
    assert found.paired
    assert (found.low, found.high) == pytest.approx((0.3 - 1.96 * 0.07, 0.3 + 1.96 * 0.07), abs=0.01)
    assert found.better == "one"
    alone = of(differences(one, trial(10.3, 0.05, shared=1.0, place=1, seed=1)), FID)
    assert not alone.paired
    assert alone.low < 0 < alone.high
    assert alone.better == ""


def test_a_higher_precision_is_better_and_a_higher_fid_is_not() -> None:
    one, other = trial(10.0, 0.01), trial(12.0, 0.01, place=1)
    for (record, arrays), value in ((one, 0.5), (other, 0.6)):
        record["quality"]["precision"] = value
        arrays[REPLICATES + "precision"] = np.full(1000, value, np.float32)
    found = differences(one, other)
    assert (of(found, FID).better, of(found, "precision").better) == ("one", "other")


def test_times_of_one_session_are_compared_round_by_round_and_of_two_with_caution() -> None:
    one, other = trial(10.0, 0.1), trial(10.0, 0.1)
    wobble = np.exp(0.3 * NOISE[0][:30])
    for (record, _), seconds in ((one, 0.1), (other, 0.104)):
        timed = record["timing"]["latency"]
        timed |= {"samples": list(seconds * wobble), "total_s": seconds, "interval": [0.95 * seconds, 1.05 * seconds]}
    found = of(differences(one, other), "latency")
    assert found.paired
    assert found.low == pytest.approx(np.log(1.04), abs=1e-6)
    assert found.better == "one"
    other[0]["timing"]["session"] = "another day"
    assert of(differences(one, other), "latency").better == ""
    other[0]["timing"]["latency"] |= {"total_s": 0.14, "interval": [0.137, 0.143]}
    assert of(differences(one, other), "latency").better == "one"


def energetic(joules: float, ends: list[float] | None, session: str = "today") -> tuple[Any, Any]:
    found = trial(10.0, 0.1)
    found[0]["timing"]["session"] = session
    found[0]["timing"]["throughput"] |= {"joules_per_image": joules, "joules_per_image_interval": ends}
    return found


def test_energy_is_compared_by_its_intervals() -> None:
    one, other = energetic(2.0, [1.98, 2.02]), energetic(2.2, [2.15, 2.25])
    found = of(differences(one, other), "joules")
    assert (found.one, found.other, found.paired, found.better) == (2.0, 2.2, False, "one")
    assert found.low == pytest.approx(np.log(1.1) - 0.025, abs=0.002)
    assert of(differences(one, energetic(2.01, [1.98, 2.04])), "joules").better == ""
    # Two sessions may differ by 10 % for no reason.
    assert of(differences(one, energetic(2.2, [2.15, 2.25], "yesterday")), "joules").better == ""
    assert "joules (J)" in in_words(found, "A", "B")
    assert "%" in in_words(found, "A", "B")


@pytest.mark.parametrize(("joules", "ends"), [(0.0, None), (2.0, None), (None, None)])
def test_energy_of_an_older_record_is_not_compared(joules: float, ends: Any) -> None:
    """Older records have the median of generations that were too short for the counter, and no interval."""
    found = differences(energetic(2.0, [1.98, 2.02]), energetic(joules, ends))
    assert [one.figure for one in found if one.figure == "joules"] == []
    assert of(found, "latency").better == ""


def captured(factor: float = 1.0, session: str = "today", mode: str = "graph", why: str | None = None) -> Any:
    """A record on CUDA whose eager times are multiplied by ``factor``."""
    found = on_cuda(trial(10.0, 0.1)[0], mode, why)
    found["timing"]["session"] = session
    for kind in ("latency", "throughput"):
        timed = found["timing"]["eager"][kind] if found["timing"]["eager"] else found["timing"][kind]
        timed["total_s"] *= factor
        for name in ("samples", "interval"):
            timed[name] = [factor * one for one in timed[name]]
    return found, {}


def test_eager_times_are_compared_with_eager_times() -> None:
    found = differences(captured(), captured(1.04))
    assert of(found, "latency").better == of(found, "throughput").better == ""
    for name in ("eager_latency", "eager_throughput"):
        assert (of(found, name).better, of(found, name).paired) == ("one", True)
        assert of(found, name).low == pytest.approx(np.log(1.04), abs=1e-6)
    assert "eager_latency (s)" in in_words(of(found, "eager_latency"), "A", "B")
    apart = differences(captured(), captured(1.04, "yesterday"))
    assert (of(apart, "eager_latency").better, of(apart, "eager_latency").paired) == ("", False)


def test_the_eager_clock_of_one_is_compared_with_the_only_clock_of_another_though_not_round_by_round() -> None:
    one, only = captured(), captured(SLOWER, mode="off", why=CONTENT)
    found = of(differences(one, only), "eager_latency")
    assert found.one == pytest.approx(found.other)
    assert (found.paired, found.better) == (False, "")
    assert of(differences(one, only), "latency").paired, "their first clocks were taken in the same rounds"


def test_without_a_second_clock_there_are_no_eager_times_to_compare() -> None:
    only, cpu = captured(mode="off", why=CONTENT), trial(10.0, 0.1)
    for pair in ((only, only), (cpu, cpu), (captured(), cpu), (captured(), captured(mode="off"))):
        assert not [one for one in differences(*pair) if one.figure.startswith("eager")]


def written(folder: Path, records: list[Any]) -> Store:
    return Store(fakes_store.write(folder, records))


def test_a_store_does_not_differ_from_its_copy(tmp_path: Path) -> None:
    one, other = (written(tmp_path / name, fakes_store.records()) for name in "ab")
    found = moved(one, other)
    assert (found.compared, found.figures, found.only) == (68, [], [])


def test_a_figure_that_moved_is_named_with_its_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = fakes_store.records()[:10]
    written(tmp_path / "a", records)
    name = records[4]["name"]
    records[4] = copy.deepcopy(records[4])
    records[4]["quality"]["fid"]["fmnist-cnn"] *= 1.2
    records[5] = copy.deepcopy(records[5])
    records[5]["flops"]["macs"] *= 0.9
    written(tmp_path / "b", records[1:])
    assert cli.main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    said = capsys.readouterr().out
    assert f"{name}\n  {FID} " in said
    assert f"{records[5]['name']}\n  macs " in said
    assert f"only in {tmp_path / 'a'}: {records[0]['name']}" in said
    assert said.endswith("9 trials compared, 2 figures moved\n")
    assert cli.main(["diff", str(tmp_path / "a"), str(tmp_path / "a")]) == 0


def test_the_command_says_what_disturbed_noisy_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = fakes_store.records()[:2]
    records[0]["timing"]["throughput"] |= {"noisy": True, "why": "4 % steal, 5 of 12 samples disturbed"}
    records[1]["timing"]["latency"]["noisy"] = True  # a record from before this was counted
    records[1]["timing"]["throughput"] |= {"gpu": {"disturbed": True}, "why": "2 other processes used the GPU"}
    written(tmp_path, records)
    assert cli.main(["compare", records[0]["name"], records[1]["name"], "--store", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "A was timed on a noisy machine, batch 64: 4 % steal, 5 of 12 samples disturbed\n" in said
    assert "B was timed on a noisy machine, batch 1: the cause was not recorded\n" in said
    assert "B was timed on a disturbed GPU, batch 64: 2 other processes used the GPU\n" in said


def test_the_command_compares_trials_by_name_or_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = fakes_store.records()[:4]
    written(tmp_path, records)
    assert cli.main(["compare", records[0]["name"], records[3]["key"][:12], "--store", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"A  {records[0]['name']}\nB  {records[3]['name']}\n" in said
    assert FID in said and "is better" in said
    assert "noisy" not in said
    assert cli.main(["compare", "nobody", records[0]["name"], "--store", str(tmp_path)]) == 2
    assert "no finished record is called 'nobody'" in capsys.readouterr().err
