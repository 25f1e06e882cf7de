"""FLOPs that turn into time, or do not."""

import copy

import pytest

from reports import speedup, table
from tests.helpers import fakes_store
from tests.helpers.fakes_cuda import CONTENT, SETUP, on_cuda


def test_time_saved_stands_beside_flops_saved() -> None:
    made = [
        copy.deepcopy(r) for r in fakes_store.records() if r["trial"]["method"] in ("var", "actvar", "raster", "ear")
    ]
    var = next(r for r in made if r["trial"]["method"] == "var")
    slow = next(r for r in made if r["trial"]["method"] == "actvar")
    slow["flops"]["macs"] = 0.42 * var["flops"]["macs"]  # 58 % fewer FLOPs, as in a published case,
    for kind in ("latency", "throughput"):
        slow["timing"][kind]["samples"] = [
            0.93 * seconds for seconds in var["timing"][kind]["samples"]
        ]  # 7 % less time
    later = next(r for r in made if r["trial"]["method"] == "ear")
    later["timing"]["session"] = "another day"
    rows = speedup.added(table.tidy(made, "fmnist-cnn"), made).set_index("key")
    row = rows.loc[slow["key"]]
    assert row["flops_saved"] == pytest.approx(58)
    for name in ("saved_b1", "saved_b64"):
        assert (row[name], row[name + ":low"], row[name + ":high"]) == pytest.approx((7, 7, 7))
    assert rows.loc[later["key"]][["saved_b1", "saved_b64"]].isna().all()
    assert rows.loc[later["key"]]["flops_saved"] < 100
    assert rows[rows["method"].isin(["var", "raster"])]["flops_saved"].isna().all()


def test_a_row_of_a_gpu_that_cannot_be_captured_is_not_compared_with_a_base_of_a_cpu() -> None:
    """Both are eager, but they were timed on two devices."""
    dense, sparse = (
        [copy.deepcopy(r) for r in fakes_store.records() if r["trial"]["method"] == method and r["status"] == "done"]
        for method in ("var", "actvar")
    )
    on_gpu, on_cpu = on_cuda(dense[1]), dense[0]
    on_cpu["trial"]["setup"] = dict(SETUP)
    assert on_cpu["quality"]["fid"]["fmnist-cnn"] < on_gpu["quality"]["fid"]["fmnist-cnn"]
    made = [on_cpu, on_gpu, on_cuda(sparse[0], "off", CONTENT)]
    row = speedup.added(table.tidy(made, "fmnist-cnn"), made).set_index("key").loc[sparse[0]["key"]]
    assert row["flops_saved"] == pytest.approx(100 * (1 - sparse[0]["flops"]["macs"] / on_gpu["flops"]["macs"]))
    assert row["other_clock"] == "time saved: eager times against captured ones of the base"


def test_of_several_seeds_of_the_base_that_of_the_rows_session_is_taken_and_no_worse_setting() -> None:
    made = [copy.deepcopy(r) for r in fakes_store.records() if r["trial"]["method"] in ("var", "actvar")][:4]
    best, worse, _, sparse = made
    assert sparse["trial"]["method"] == "actvar"
    other = copy.deepcopy(best)
    other["trial"]["seed"], other["key"], other["name"] = 1, "0" * 64, best["name"].replace("seed=0", "seed=1")
    other["quality"]["fid"]["fmnist-cnn"] -= 0.1
    other["timing"]["session"] = "another day"
    row = speedup.added(table.tidy([*made, other], "fmnist-cnn"), [*made, other]).set_index("key").loc[sparse["key"]]
    assert row[["saved_b1", "saved_b64"]].notna().all()
    best["timing"]["session"] = "another day"  # a worse setting of the row's session is no base
    row = speedup.added(table.tidy(made, "fmnist-cnn"), made).set_index("key").loc[sparse["key"]]
    assert row["saved_b1"] != row["saved_b1"]
    assert row["flops_saved"] == pytest.approx(100 * (1 - sparse["flops"]["macs"] / best["flops"]["macs"]))
    assert worse["timing"]["session"] == sparse["timing"]["session"]


@pytest.mark.parametrize("setup", [{"precision": "bf16"}, {"tf32": "on"}], ids=str)
def test_a_row_is_not_compared_with_a_dense_method_of_another_arithmetic(setup: dict[str, str]) -> None:
    made = [copy.deepcopy(r) for r in fakes_store.records() if r["trial"]["method"] in ("var", "actvar")]
    odd = next(r for r in made if r["trial"]["method"] == "actvar")
    odd["trial"]["setup"] = setup
    rows = speedup.added(table.tidy(made, "fmnist-cnn"), made).set_index("key")
    assert rows.loc[odd["key"]][["flops_saved", "saved_b1", "saved_b64"]].isna().all()
    others = rows[(rows["method"] == "actvar") & (rows.index != odd["key"])]
    assert others["flops_saved"].notna().all()
