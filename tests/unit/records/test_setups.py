"""Records of other setups are never compared in silence, and records of earlier versions do not state all of theirs."""

import copy
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.records.setups import differences_of_setup, setup_of
from harness.records.store import Store
from reports import table
from tests.helpers import fakes_store
from tests.helpers.fakes_cuda import CONTENT, on_cuda

BEFORE: dict[str, Any] = {"precision": "fp32", "labels": "balanced", "uint8": "round", "weights": "trained"}
"""A setup of the last version without ``tf32`` and ``compute_batch``."""
NOW: dict[str, Any] = {**BEFORE, "tf32": "off", "compute_batch": 125}


def record(device: str = "cpu", place: int = 0, **setup: Any) -> Any:
    made = copy.deepcopy(fakes_store.records()[place])
    made["trial"]["setup"] = setup
    made["provenance"]["device"] = device
    made["timing"]["device"] = device
    return made


@pytest.mark.parametrize(("device", "tf32"), [("cpu", "off"), ("cuda", "unknown"), ("cuda:1", "unknown")])
def test_a_record_of_an_earlier_version_had_no_tf32_on_a_cpu_and_perhaps_on_a_gpu(device: str, tf32: str) -> None:
    assert setup_of(record(device, **BEFORE)) == {**BEFORE, "tf32": tf32, "compute_batch": "unknown"}
    assert setup_of(record(device, **NOW)) == NOW
    assert setup_of(record(device, **{**BEFORE, "precision": "bf16"}))["tf32"] == "off", "bf16 is not rounded to TF32"
    assert setup_of(record(device))["precision"] == "fp32"  # of before setups were recorded


def test_the_differences_of_two_setups_are_told_field_by_field() -> None:
    other: dict[str, Any] = {**NOW, "precision": "bf16", "tf32": "on", "compute_batch": 64}
    assert differences_of_setup(record(**NOW), record(**NOW)) == []
    assert differences_of_setup(record(**NOW), record(**other)) == [
        "precision: A fp32, B bf16",
        "tf32: A off, B on",
        "compute_batch: A 125, B 64",
    ]
    assert differences_of_setup(record("cuda", **BEFORE), record("cuda", **NOW)) == [
        "tf32: A unknown, B off",
        "compute_batch: A unknown, B 125",
    ]
    assert differences_of_setup(record(**NOW), {**record(**other), "foreign": {}}) == []


def test_the_command_compare_tells_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = record(**NOW), record(place=3, **{**NOW, "tf32": "on"})
    fakes_store.write(tmp_path, [one, other])
    assert cli.main(["compare", one["name"], other["name"], "--store", str(tmp_path)]) == 0
    assert "their setups differ in tf32: A off, B on\n" in capsys.readouterr().out
    assert cli.main(["compare", one["name"], one["name"], "--store", str(tmp_path)]) == 0
    assert "setups" not in capsys.readouterr().out


def test_the_command_diff_tells_how_a_store_of_an_earlier_version_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes_store.write(tmp_path / "a", [record("cuda", place, **BEFORE) for place in range(3)])
    fakes_store.write(tmp_path / "b", [record("cuda", place, **NOW) for place in range(3)])
    assert cli.main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "the setups of 3 trials differ in tf32: A unknown, B off\n" in said
    assert "the setups of 3 trials differ in compute_batch: A unknown, B 125\n" in said
    assert said.endswith("3 trials compared, 0 figures moved\n")


def test_a_row_says_what_is_unusual_in_its_setup_and_is_no_further_seed_of_another(tmp_path: Path) -> None:
    usual, tf32, earlier, other = (
        record(**NOW),
        record(**{**NOW, "tf32": "on"}),
        record("cuda", **BEFORE),
        record(**{**NOW, "compute_batch": 50}),
    )
    other["name"] = other["name"].replace(",seed=", ",compute_batch=50,seed=")
    made = [{**one, "key": str(place) * 64} for place, one in enumerate((usual, tf32, earlier, other))]
    rows = table.tidy(made, "fmnist-cnn")
    words = dict(zip(rows["key"].str[0], rows["setup"], strict=True))
    assert words == {"0": "", "1": "TF32", "2": "perhaps TF32, timed eager", "3": "compute batch 50"}
    assert len(table.over_seeds(rows)) == 4


def test_a_store_of_an_earlier_version_is_read_shown_and_compared_as_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [record(place=place, **BEFORE) for place in range(4)]
    store = Store(fakes_store.write(tmp_path, made))
    rows = table.tidy(store.records(), "fmnist-cnn")
    assert set(rows["setup"]) == {""}
    assert len(table.comparable(rows)[0]) == 4
    assert cli.main(["compare", made[0]["name"], made[1]["name"], "--store", str(tmp_path)]) == 0
    assert "setups" not in capsys.readouterr().out


def test_the_command_compare_tells_that_clocks_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = fakes_store.records()
    made = [on_cuda(raw[0]), on_cuda(raw[3], "compile"), on_cuda(raw[4], "off", CONTENT), on_cuda(raw[5])]
    fakes_store.write(tmp_path, made)

    def said(one: Any, other: Any) -> str:
        assert cli.main(["compare", one["name"], other["name"], "--store", str(tmp_path)]) == 0
        return capsys.readouterr().out

    captured, compiled, eager, alike = made
    assert "their setups differ in clock: A captured, B compiled\n" in said(captured, compiled)
    assert f"their setups differ in clock: A captured, B eager ({CONTENT})\n" in said(captured, eager)
    assert "setups" not in said(captured, alike)


def test_the_command_diff_tells_that_an_earlier_store_was_timed_eager(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [on_cuda(one) for one in fakes_store.records()[:3]]
    before = copy.deepcopy(now)
    for one in before:
        one["timing"] = {**fakes_store.records()[0]["timing"], "device": "cuda:0", "session": "of before"}
    fakes_store.write(tmp_path / "a", before)
    fakes_store.write(tmp_path / "b", now)
    cli.main(["diff", str(tmp_path / "a"), str(tmp_path / "b")])
    assert "the setups of 3 trials differ in clock: A eager, B captured\n" in capsys.readouterr().out


def test_clocks_of_records_without_times_do_not_differ() -> None:
    one, other = on_cuda(fakes_store.records()[0]), on_cuda(fakes_store.records()[3])
    other["timing"] = None
    assert differences_of_setup(one, other) == []
