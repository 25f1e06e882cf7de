"""When the records of two runs are the same."""

from pathlib import Path
from typing import Any

import pytest

from harness.store import Store


def results(folder: Path) -> list[dict[str, Any]]:
    """The records without what two runs cannot share: time, place and date. Shards may be cut elsewhere: metrics agree
    to 1e-9."""
    found = []
    for record in Store(folder).records():
        assert record.pop("timing") is not None
        record.pop("provenance")
        record["generate"].pop("seconds")
        found.append(record)
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
