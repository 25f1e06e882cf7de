"""Pages show the captured clock, offer the eager one, say how each row was timed, and mix nothing in silence."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.records.comparison import RELATIVE
from harness.records.store import Store
from harness.stages import clocks
from harness.stages.figures import FIGURES
from reports import speedup, table
from reports.build import build
from reports.certainty import Certainty
from reports.claims.bundled import bundled_store
from reports.claims.claim import shipped
from reports.claims.evidence import Evidence
from reports.claims.expression import parse
from reports.claims.verdict import NOT_MEASURED, Verdict, judge
from tests.helpers import fakes_store
from tests.helpers.fakes_cuda import CONTENT, SLOWER, on_cuda
from tests.unit.reports.test_reports import board, data, trial, undrawn  # noqa: F401 - a fixture

SECOND = {"eager_latency", "eager_throughput", "latency_p90", "latency_p99"}
RECORDS = fakes_store.records()
WAYS = (("graph", None), ("compile", None), ("off", CONTENT), ("off", None))


def of(*methods: str) -> list[Any]:
    """Copies of the finished records of these methods."""
    return [copy.deepcopy(one) for one in RECORDS if one["trial"]["method"] in methods and one["status"] == "done"]


@pytest.fixture
def made() -> list[Any]:
    """Four records on CUDA, each timed in another way."""
    return [on_cuda(record, *way) for record, way in zip(RECORDS[3:7], WAYS, strict=True)]


@pytest.fixture
def site(made: list[Any], tmp_path: Path, undrawn: None) -> Path:  # noqa: F811
    return build(fakes_store.write(tmp_path / "store", made), tmp_path / "site").parent


def test_the_row_has_the_captured_clock_and_the_eager_one_is_a_column_to_switch_on(site: Path, made: list[Any]) -> None:
    told = {measure["name"]: measure for measure in data(site, "leaderboard")["measures"]}
    assert set(told) >= SECOND
    assert not any(told[name]["shown"] for name in SECOND)
    rows = {row["key"]: row for row in board(site)}
    keys = [row["key"] for row in board(site)]
    late = data(site, "leaderboard-more")
    for record, both in zip(made, (True, True, False, False), strict=True):
        place = keys.index(record["key"][:12])
        latency = rows[keys[place]]["latency"]
        values, lows, highs = (column[place] for column in late["eager_latency"])
        assert latency == pytest.approx(1000 * record["timing"]["latency"]["total_s"], rel=1e-4)
        if both:
            assert values == pytest.approx(SLOWER * latency, rel=1e-4)
            assert lows < values < highs
        else:  # a row that cannot be captured has one clock, which is eager; the last says of itself that it is eager
            assert values == (latency if record["timing"]["capture"] else None)
        assert latency < late["latency_p90"][0][place] < late["latency_p99"][0][place]
    header = (site / "trials.csv").read_text().splitlines()[0].split(",")
    assert set(header) >= SECOND | {"eager_latency:low", "eager_throughput:high", "clock", "timed", "other_clock"}


def test_each_row_on_cuda_says_how_it_was_timed(site: Path, made: list[Any]) -> None:
    rows = {row["key"]: row for row in board(site)}
    captured, compiled, never, asked = (rows[record["key"][:12]] for record in made)
    assert captured["note"] == "timed captured" and "timed" not in captured["settings"]
    assert compiled["note"] == "" and "timed compiled" in compiled["settings"]
    assert never["note"] == CONTENT and "timed eager" in never["settings"]
    assert asked["note"] == "not captured: the protocol has capture off" and "timed eager" in asked["settings"]
    notes = (site / "measured.html").read_text()
    assert "Trials were timed in several ways: 2 eager, 1 captured, 1 compiled." in notes
    assert f"eager ({CONTENT}) (1 record)" in notes


def test_a_trial_shows_both_clocks(site: Path, made: list[Any]) -> None:
    found = trial(site, made[0])
    assert found["clock"] == "captured" and "setup" not in found, "its trial has its whole setup"
    eager = found["timing"]["eager"]["latency"]
    assert eager["samples"] == pytest.approx(made[0]["timing"]["eager"]["latency"]["samples"], rel=1e-4)
    assert "decoder_samples" not in eager
    assert set(found["figures"]) >= SECOND
    assert trial(site, made[2])["clock"] == f"eager ({CONTENT})"


def test_the_page_of_comparisons_has_the_differences_of_eager_times(site: Path, made: list[Any]) -> None:
    paired = data(site, "compare")["paired"]
    found = {(one, two): lines for one in paired for two, lines in data(site, f"pairs-{one}").items()}
    assert len(found) == 6
    for pair, lines in found.items():
        eager = {line[0] for line in lines} & {"eager_latency", "eager_throughput"}
        asked = made[3]["key"][:12] in pair  # it has no clock that is said to be eager beside the captured
        assert len(eager) == (0 if asked else 2)


@pytest.mark.usefixtures("undrawn")
def test_a_store_of_a_cpu_has_none_of_it(tmp_path: Path) -> None:
    out = build(fakes_store.write(tmp_path / "store", copy.deepcopy(RECORDS[:6])), tmp_path / "site").parent
    told = data(out, "leaderboard")
    assert not {measure["name"] for measure in told["measures"]} & (SECOND | {"joules", "floor_b1"})
    assert not set(data(out, "leaderboard-more")) & SECOND
    assert "eager_noisy" not in told["columns"]
    header = (out / "trials.csv").read_text().splitlines()[0].split(",")
    assert not {name.partition(":")[0] for name in header} & (SECOND | {"clock", "timed", "other_clock"})
    assert "clock" not in trial(out, RECORDS[0])
    assert trial(out, RECORDS[0])["setup"]["compute_batch"] == "unknown", "the record is older than compute batches"
    assert {"latency", "latency:low", "throughput", "fid:low", "params"} <= set(header)
    assert [row["note"] for row in board(out) if row["key"]] == [""] * 6
    assert "timed in several ways" not in (out / "measured.html").read_text()


def test_the_columns_that_are_shown_at_first_are_there_in_any_store(tmp_path: Path, undrawn: None) -> None:  # noqa: F811
    failed = copy.deepcopy(RECORDS[:1])
    fakes_store.fail(failed[0], "generate", "out of memory")
    out = build(fakes_store.write(tmp_path / "store", failed), tmp_path / "site").parent
    told = data(out, "leaderboard")
    shown = {measure["name"] for measure in told["measures"] if measure["shown"]}
    assert shown == set(told["figures"]) >= {"fid", "latency", "throughput"}
    assert "latency" in pd.read_csv(out / "trials.csv").columns


@pytest.mark.usefixtures("undrawn")
def test_a_noisy_eager_clock_does_not_make_the_row_noisy(tmp_path: Path) -> None:
    made = [on_cuda(record) for record in RECORDS[3:5]]
    made[0]["timing"]["eager"]["latency"]["noisy"] = True
    out = build(fakes_store.write(tmp_path / "store", made), tmp_path / "site").parent
    rows = {row["key"]: row for row in board(out)}
    one, other = (rows[record["key"][:12]] for record in made)
    assert (one["eager_noisy"], one["noisy"], other["eager_noisy"]) == (True, False, False)


@pytest.mark.usefixtures("undrawn")
def test_each_clock_and_the_energy_have_marks_of_their_own(tmp_path: Path) -> None:
    made = [on_cuda(record, *way) for record, way in zip(RECORDS[3:7], WAYS, strict=True)]
    made[0]["timing"]["eager"]["throughput"]["gpu"] = {"disturbed": True}
    made[1]["timing"]["throughput"]["joules_per_image_gpu"] = {"disturbed": True}
    made[2]["timing"]["latency"] |= {"gpu": {"disturbed": True}, "noisy": True, "why": "x"}
    out = build(fakes_store.write(tmp_path / "store", made), tmp_path / "site").parent
    rows = {row["key"]: row for row in board(out)}
    marks = ("gpu_disturbed", "eager_disturbed", "eager_noisy", "energy_disturbed")
    found = [[name for name in marks if rows[record["key"][:12]][name]] for record in made]
    only = ["gpu_disturbed", "eager_disturbed", "eager_noisy"]  # its only clock is the eager one
    assert found == [["eager_disturbed"], ["energy_disturbed"], only, []]
    header = (out / "trials.csv").read_text().splitlines()[0].split(",")
    assert set(marks) <= set(header)
    told = {one["name"]: one["clock"] for one in data(out, "leaderboard")["measures"]}
    assert (told["latency"], told["eager_latency"], told["fid"]) == ("first", "eager", "")


def test_every_figure_that_follows_the_times_says_of_which_clock_it_is() -> None:
    usual = on_cuda(next(one for one in RECORDS if one["timing"].get("rates")))
    usual["timing"]["throughput"]["joules_per_image"] = 2.0

    def changed(first: float, eager: float) -> set[str]:
        made = copy.deepcopy(usual)
        for clock, factor in ((made["timing"], first), (made["timing"]["eager"], eager)):
            for kind in clocks.KINDS:
                for name in ("total_s", "tokens_s", "decoder_s", "images_per_s", "joules_per_image"):
                    clock[kind][name] = factor * clock[kind].get(name, 0.0)
                clock[kind]["percentiles"] = {q: factor * s for q, s in clock[kind]["percentiles"].items()}
        return {one.name for one in FIGURES if one.value(made, "fmnist-cnn") != one.value(usual, "fmnist-cnn")}

    first, eager = ({one.name for one in FIGURES if one.clock == clock} for clock in ("first", "eager"))
    saved = {"saved_b1", "saved_b64"}  # of two records
    assert changed(2.0, 1.0) | saved == first
    assert changed(1.0, 2.0) == eager
    assert (first | eager) - saved == RELATIVE


@pytest.mark.usefixtures("undrawn")
def test_tokens_that_change_when_captured_are_flagged(tmp_path: Path) -> None:
    made = [on_cuda(record) for record in RECORDS[3:5]]
    made[0]["timing"]["capture"]["alike"] = 0.875
    out = build(fakes_store.write(tmp_path / "store", made), tmp_path / "site").parent
    rows = {row["key"]: row["note"] for row in board(out)}
    assert rows[made[0]["key"][:12]] == "flagged: timing; timed captured"
    said = "timing: captured, 87.5% of a batch's images have the tokens of an eager run"
    assert trial(out, made[0])["flags"] == [said]


def savings(made: list[Any]) -> pd.DataFrame:
    return speedup.added(table.tidy(made, "fmnist-cnn"), made).set_index("key")


def test_time_saved_is_of_the_captured_clock() -> None:
    made = [on_cuda(record) for record in of("var", "actvar")]
    for record in made:  # eager, the sparse method would take ten times as long as the dense one
        if record["trial"]["method"] == "actvar":
            for kind in ("latency", "throughput"):
                timed = record["timing"]["eager"][kind]
                timed["samples"] = [10 * one for one in timed["samples"]]
    before, after = savings(of("var", "actvar")), savings(made)
    sparse = after["method"] == "actvar"
    for name in ("saved_b1", "saved_b64"):
        assert after[name][sparse].to_numpy() == pytest.approx(before[name][sparse].to_numpy(), abs=1.5)
    assert set(after["other_clock"]) == {""}


@pytest.mark.parametrize(("mode", "why"), [("compile", None), ("off", None)])
def test_a_row_is_not_compared_with_a_base_of_another_clock(mode: str, why: str | None) -> None:
    made = [on_cuda(record) for record in of("var", "actvar")]
    place = next(at for at, one in enumerate(made) if one["trial"]["method"] == "actvar")
    made[place] = on_cuda(of("actvar")[0], mode, why)
    rows = savings(made)
    row = rows.loc[made[place]["key"]]
    assert row[["saved_b1", "saved_b64"]].isna().all()
    assert (row["other_clock"], np.isnan(row["flops_saved"])) == ("", False), "FLOPs do not depend on the clock"
    assert rows[(rows["method"] == "actvar") & (rows.index != row.name)]["saved_b1"].notna().all()


def test_a_base_of_the_rows_own_clock_is_taken_though_another_has_a_lower_fid() -> None:
    dense, sparse = of("var"), of("actvar")[:1]
    best = min(dense, key=lambda one: one["quality"]["fid"]["fmnist-cnn"])
    other = next(one for one in dense if one is not best)
    made = [on_cuda(best, "compile"), on_cuda(other), on_cuda(sparse[0])]
    row = savings(made).loc[sparse[0]["key"]]
    assert row["flops_saved"] == pytest.approx(100 * (1 - sparse[0]["flops"]["macs"] / other["flops"]["macs"]))
    assert np.isfinite(row["saved_b1"])


def test_a_row_that_cannot_be_captured_is_compared_with_a_captured_base_and_says_so(
    tmp_path: Path,
    undrawn: None,  # noqa: F811
) -> None:
    made = [on_cuda(one) for one in of("var")] + [on_cuda(of("actvar")[0], "off", CONTENT)]
    row = savings(made).loc[made[-1]["key"]]
    said = "time saved: eager times against captured ones of the base"
    assert row["other_clock"] == said
    assert np.isfinite(row["saved_b1"]) and np.isfinite(row["saved_b64"])
    out = build(fakes_store.write(tmp_path / "store", made), tmp_path / "site").parent
    notes = {one["key"]: one["note"] for one in board(out)}
    assert notes[made[-1]["key"][:12]] == f"{CONTENT}; {said}"


def test_a_row_on_a_cpu_that_was_compiled_is_not_compared_with_one_that_was_not() -> None:
    made = of("var", "actvar")
    odd = next(one for one in made if one["trial"]["method"] == "actvar")
    odd["timing"]["protocol"] = {**odd["timing"]["protocol"], "compile": "default"}
    rows = savings(made)
    assert rows.loc[odd["key"]][["saved_b1", "saved_b64"]].isna().all()


def test_eager_times_and_percentiles_have_replicates_of_their_samples(tmp_path: Path, made: list[Any]) -> None:
    store = Store(fakes_store.write(tmp_path / "records", made))
    certainty = Certainty(store, {record["key"]: record for record in made}, "fmnist-cnn")
    rows = {row["key"]: row for row in table.dicts(table.over_seeds(table.tidy(made, "fmnist-cnn")))}
    row = rows[made[0]["key"]]
    drawn = {name: certainty.of(row, name) for name in (*SECOND, "latency")}
    for name, values in drawn.items():
        assert np.median(values) == pytest.approx(row[name], rel=1e-3)
        assert values.std() > 0
        assert name == "latency_p99" or values.std() < 0.01 * values.mean()
    assert np.allclose(drawn["eager_latency"], SLOWER * drawn["latency"])
    low, high = np.quantile(drawn["latency_p99"], [0.025, 0.975]) / row["latency_p99"]
    assert 0.9 < low <= 1 and high == pytest.approx(2, rel=0.02), "the one slow round may stand for more than 1 %"


def test_a_claim_about_time_is_not_judged_on_records_of_two_clocks() -> None:
    claims = {claim.id: claim for claim in shipped()}
    with bundled_store() as store:

        def verdict(claim: str) -> Verdict:
            return judge(claims[claim], Evidence(store))

        assert verdict("actvar-time").word != NOT_MEASURED
        for record in store.records():
            if record["trial"]["method"] == "var":
                record["timing"] |= {"capture": {"mode": "compile", "why": None, "seconds": 1.0, "alike": 1.0}}
                store.write(record, store.arrays(record))
        after = verdict("actvar-time")
        assert after.word == NOT_MEASURED
        assert after.missing.startswith("records that were timed in one way (")
        assert "timed compiled" in after.missing and "timed eager" in after.missing
        parts = replace(claims["actvar-time"], expression=parse("actvar.latency_tokens < var.latency_tokens"))
        assert judge(parts, Evidence(store)).missing == after.missing, "a part of the latency is of a clock, too"
        assert verdict("actvar-flops").word != NOT_MEASURED, "the clock matters only for times"
