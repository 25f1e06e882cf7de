"""FLOPs that turn into time, or do not."""

import copy

import pytest

from reports import speedup, table
from tests.helpers import fakes_store


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


@pytest.mark.parametrize("setup", [{"precision": "bf16"}, {"tf32": "on"}], ids=str)
def test_a_row_is_not_compared_with_a_dense_method_of_another_arithmetic(setup: dict[str, str]) -> None:
    made = [copy.deepcopy(r) for r in fakes_store.records() if r["trial"]["method"] in ("var", "actvar")]
    odd = next(r for r in made if r["trial"]["method"] == "actvar")
    odd["trial"]["setup"] = setup
    rows = speedup.added(table.tidy(made, "fmnist-cnn"), made).set_index("key")
    assert rows.loc[odd["key"]][["flops_saved", "saved_b1", "saved_b64"]].isna().all()
    others = rows[(rows["method"] == "actvar") & (rows.index != odd["key"])]
    assert others["flops_saved"].notna().all()
