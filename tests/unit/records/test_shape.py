"""The shape of a record is declared whole: what is written has no part that is not, and what is read has its kinds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from msgspec import Struct

from harness.errors import ArbenchError
from harness.records import schema, shape
from harness.run.verification import BUNDLED
from tests.helpers import submitting


def undeclared(found: dict[str, Any], owner: type[Struct], where: str = "") -> Iterator[str]:
    """The parts of a record that its shape does not declare."""
    hints = get_type_hints(owner)
    for name, value in found.items():
        if name not in hints:
            yield where + name
            continue
        inner = shape.section(hints[name])
        if inner is not None and isinstance(value, dict):
            yield from undeclared(value, inner, f"{where}{name}.")


def test_a_record_that_is_measured_has_no_part_that_is_not_declared(tmp_path: Path) -> None:
    with submitting.measured(tmp_path) as store:
        records = store.records()
    assert len(records) == 3
    assert [part for record in records for part in undeclared(record, shape.Record)] == []


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.json")), ids=lambda path: path.stem)
def test_a_bundled_record_has_the_shape(path: Path) -> None:
    record = json.loads(path.read_text())
    schema.check_finished(record)
    assert list(undeclared(record, shape.Record)) == []


WRONG: dict[str, dict[str, Any]] = {
    "trial is not object": {"trial": [1]},
    "name is missing": {"name": None},
    "trial: images is missing": {"trial": {"seed": 1}},
    "trial: images is not whole": {"trial": {"images": 3.0}},
    "generate: images is not number": {"generate": {"images": True}},
    "quality: flags is not texts": {"quality": {"flags": [None]}},
    "quality: intervals is not pairs": {"quality": {"intervals": {"is": [1.0]}}},
    "timing.latency: samples is not numbers": {"timing": {"latency": {"samples": ["1"]}}},
    "timing.latency: disturbances is not columns": {"timing": {"latency": {"disturbances": {"steal": [None]}}}},
    "provenance.machine: cores is not number": {"provenance": {"machine": {"cores": "2"}}},
}


@pytest.mark.parametrize("said", WRONG)
def test_a_part_of_another_kind_is_named_with_its_section(said: str) -> None:
    record = {"name": "n", "key": "k", "status": "done", "trial": {"images": 1}, **WRONG[said]}
    with pytest.raises(ArbenchError, match=said):
        schema.check(record)
