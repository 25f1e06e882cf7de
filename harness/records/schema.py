"""Checks whether a record has the shape that harness/records/shape.py declares. The pages of reports, and the tables of
records, rely on this shape. Records that other people wrote are checked as well."""

import re
from collections.abc import Mapping
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct, ValidationError

from harness.errors import ArbenchError
from harness.records import shape

FINISHED: Mapping[str, tuple[str, ...]] = {
    "trial": ("method", "preset", "knobs", "sampling", "seed"),
    "generate": ("images", "steps_mean"),
    "quality": ("extractor", "fid", "intervals"),
    "flops": ("macs",),
    "provenance": ("weights", "extractors"),
}
"""Parts that the record of a finished trial with scores must have."""
PLACE = re.compile(r"\.([a-z_0-9]+)")
LACKING = re.compile(r"missing required field `(\w+)`")


def check(record: Any) -> None:
    """Raises ArbenchError if ``record`` does not have the shape of a record. Whether its numbers are plausible is not
    checked."""
    _fits(record, shape.Record, "the record")


def _fits(found: Any, owner: type[Struct], what: str) -> None:
    try:
        msgspec.convert(found, owner)
    except ValidationError as error:
        raise ArbenchError(_in_words(str(error), owner, what)) from error


def _in_words(error: str, owner: type[Struct], what: str) -> str:
    """An error of msgspec, put in our words. The text names the section of the record, the part of the section, and the
    kind of value that the part should have."""
    place = error.partition(" - at `$")[2]
    parts = PLACE.findall(place)
    if lacking := LACKING.search(error):
        return f"{'.'.join(parts) or what}: {lacking[1]} is missing"
    around: list[str] = []
    for name in parts:
        hint = get_type_hints(owner)[name]
        inner = shape.section(hint)
        if inner is None or name == parts[-1]:
            null = "got `null`" in error and "[" not in place
            fault = "missing" if null else f"not {shape.IN_WORDS.get(shape.kind(hint), 'object')}"
            return f"{'.'.join(around) or what}: {name} is {fault}"
        around, owner = [*around, name], inner
    return f"{what}: it is no object"


def check_finished(record: Any) -> None:
    """Raises ArbenchError if this is not the record of a finished trial with scores."""
    check(record)
    if record["status"] != "done":
        raise ArbenchError("the trial did not finish")
    _check_there(record, FINISHED)


def check_facts(found: Any) -> None:
    """Raises ArbenchError if ``found`` does not have the right form for the facts of a store. These facts are scores of
    the reference images, and values that were measured for the tokenizers (harness/run/limits.py)."""
    _fits(found, shape.Facts, "the facts")
    if any(isinstance(one.get("rfid"), str) for one in (found.get("tokenizers") or {}).values()):
        raise ArbenchError("tokenizers: rfid is not number")


def _check_there(record: Mapping[str, Any], needed: Mapping[str, tuple[str, ...]]) -> None:
    for section, names in needed.items():
        found = (record.get(section) or {}) if section else record
        for name in names:
            if found.get(name) is None:
                raise ArbenchError(f"{section or 'the record'}: {name} is missing")
