"""The setup under which a record was made, and how the setups of two records differ.

Figures of two setups can differ for that reason alone. So whoever compares two records says how their setups differ.
Records of earlier versions do not state ``tf32`` and ``compute_batch``. Times differ also by the clock
(harness.stages.clocks), which is therefore told with the setup.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from harness.setup import SETUP_FIELDS, Setup
from harness.stages import clocks

UNKNOWN = "unknown"
"""Stands for a value that a record of an earlier version does not state."""


def made_on(record: Mapping[str, Any]) -> str:
    """The kind of device on which a record was made: ``cpu``, ``cuda``."""
    provenance, timing = record.get("provenance") or {}, record.get("timing") or {}
    return str(provenance.get("device") or timing.get("device") or "cpu").partition(":")[0]


def setup_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of a record's setup. Empty for samples that another program made.

    Earlier versions left it to torch whether convolutions used TF32. So ``tf32`` of their records is unknown if they
    were made on CUDA in fp32. Otherwise it is off: a CPU has no TF32, and TF32 takes the place of float32.
    ``compute_batch`` of their records is unknown.
    """
    if "foreign" in record:
        return {}
    found = {**asdict(Setup()), **(record["trial"].get("setup") or {})}
    perhaps = made_on(record) != "cpu" and found["precision"] == "fp32"
    earlier = {"tf32": UNKNOWN if perhaps else "off", "compute_batch": UNKNOWN}
    return {**found, **earlier, **(record["trial"].get("setup") or {})}


def arithmetic_of(record: Mapping[str, Any]) -> tuple[str, str]:
    """``precision`` and ``tf32`` of a record's setup. Empty texts for samples that another program made."""
    setup = setup_of(record)
    return str(setup.get("precision", "")), str(setup.get("tf32", ""))


def differences_of_setup(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """How the setups of two records differ, a line for each field: ``tf32: A off, B on``. If both records have times,
    and their clocks differ, the last line says so: ``clock: A captured, B eager``. Empty if one of the records is of
    samples that another program made."""
    first, second = setup_of(one), setup_of(other)
    if not first or not second:
        return []
    found = [f"{name}: A {first[name]}, B {second[name]}" for name in SETUP_FIELDS if first[name] != second[name]]
    timings = one.get("timing") or {}, other.get("timing") or {}
    if all(timings) and clock_of(one) != clock_of(other):
        a, b = map(clocks.in_words, timings)
        found.append(f"clock: A {a}, B {b}")
    return found


def clock_of(record: Mapping[str, Any]) -> str:
    """How a record was timed: captured, compiled or eager; "" if it was not timed."""
    return clocks.clock(record.get("timing") or {})
