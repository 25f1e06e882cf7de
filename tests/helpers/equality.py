"""When the records of two runs are the same."""

from pathlib import Path
from typing import Any

import pytest

from harness.records.store import Store
from tests.helpers import sweeping
from tests.helpers.places import Place


def results(folder: Path) -> list[dict[str, Any]]:
    """The records, with their images' tokens (hashed), without what two runs cannot share: time, place and date. Shards
    may be cut elsewhere: metrics agree to 1e-9."""
    store, found = Store(folder), []
    for record in store.records():
        tokens = store.arrays(record, lambda name: name == "fingerprints").get("fingerprints")
        assert record.pop("timing") is not None
        record.pop("provenance")
        if record["generate"] is not None:
            record["generate"].pop("seconds")
            assert tokens is not None
            assert len(tokens) == record["trial"]["images"]
        found.append({**record, "tokens": None if tokens is None else tokens.tolist()})
    return found


def assert_equal(one: Any, other: Any, where: str = "record") -> None:
    """The same plain values, floats to 1e-9."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_equal(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), (where, one, other)
        for place, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_equal(left, right, f"{where}[{place}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-9), where
    else:
        assert one == other, where


def assert_as_here(place: Place) -> None:
    """The records of the run on the cluster are those of the same sweep in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(sweeping.SLEEP, raising=False)
        assert place.here() == 0
    assert_equal(results(place.store), results(place.folder / "here"))
