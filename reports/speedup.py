"""Realised speed-up per setting and batch size: time and FLOPs saved in comparison with the method's base method."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from harness.errors import ArbenchError
from harness.plugins.looks import base_of
from harness.stages.timing.summary import ratio
from reports.table import HIGH, LOW, Record, dicts

KINDS = {"saved_b1": "latency", "saved_b64": "throughput"}


def added(rows: pd.DataFrame, records: Iterable[Record]) -> pd.DataFrame:
    """Return a table of ``reports.table.tidy`` with savings in per cent added.

    The new columns are ``flops_saved``, ``saved_b1`` and ``saved_b64`` (time saved at batch sizes 1 and 64).

    Every method has a base method, with which its cost is compared (harness.plugins.looks.base_of). The base method of
    a sparse method is its dense method. A row is compared with one row of the base method, the row of lowest FID. That
    row is called the base. A saving is negative if the row costs more than the base. A method that is its own base
    method has no savings.

    Time savings exist only if the row and the base were timed in the same timing session. The two are then compared
    round by round. They are of the first clock (harness.stages.clocks): captured on CUDA. A base that was timed on the
    row's own device is preferred, and then one of the row's own clock. There are no time savings from a base of another
    clock, with one exception: a row that cannot be captured is compared with a captured base. The new column
    ``other_clock`` then says so; otherwise it is empty.
    """
    by_key = {str(record["key"]): record for record in records}
    timed = rows.assign(
        timed_on=[_timed_on(by_key[str(key)]) for key in rows["key"]],
        session=[str((by_key[str(key)].get("timing") or {}).get("session")) for key in rows["key"]],
    )
    bases: dict[tuple[str, ...], Mapping[str, object] | None] = {}
    found = []
    for row in dicts(timed):
        name = base_of(str(row["method"]), str(row["family"]))
        place = (name, *(str(row[column]) for column in (*_SAME, *_PREFERRED, "session")))
        if place not in bases:
            bases[place] = _base(row, timed)
        own = row["method"] == place[0]
        found.append(_saved(row, None if own else bases[place], by_key))
    savings = pd.DataFrame(found, index=rows.index, columns=_COLUMNS).astype(float)
    others = [one.get("other_clock", "") for one in found]
    return rows.assign(**savings, other_clock=pd.Series(others, index=rows.index, dtype=object))


_SAME = ("preset", "images", "arithmetic")
"""Columns in which a base agrees with its row."""
_PREFERRED = ("timed_on", "clock")
"""Columns in which a base agrees with its row if some candidate does. The first column is the most important."""
_COLUMNS = ["flops_saved", *(name + end for name in KINDS for end in ("", LOW, HIGH))]


def _base(row: Mapping[str, object], rows: pd.DataFrame) -> Mapping[str, object] | None:
    """The base with which ``row`` is compared; None if there is no base.

    Candidates are the rows of the base method with the same preset, number of images, precision and use of TF32 as
    ``row``. If some of them were timed on the device of ``row``, only these are candidates. Of these, if some have the
    clock of ``row``, only these are candidates. The base has the setting of the candidate of lowest FID. If several
    candidates have this setting, such as those of several seeds, one of the session of ``row`` is taken.
    """
    candidates = rows[(rows["method"] == base_of(str(row["method"]), str(row["family"]))) & rows["fid"].notna()]
    for column in _SAME:
        candidates = candidates[candidates[column] == row[column]]
    for column in _PREFERRED:
        candidates = _rather(candidates, column, row[column])
    if candidates.empty:
        return None
    same = candidates[candidates["settings"] == _best(candidates)["settings"]]
    return _best(_rather(same, "session", row["session"]))


def _best(candidates: pd.DataFrame) -> Mapping[str, object]:
    """The candidate of lowest FID."""
    return dicts(candidates.loc[[candidates["fid"].idxmin()]])[0]


def _rather(candidates: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    """The candidates that have this value in a column; all candidates if none has it."""
    alike = candidates[candidates[column] == value]
    return candidates if alike.empty else alike


def _timed_on(record: Record) -> str:
    """The device on which a record was timed, and its name: ``cuda NVIDIA H100``."""
    timing = record.get("timing") or {}
    machine = timing.get("machine") or (record.get("provenance") or {}).get("machine") or {}
    kind = str(timing.get("device", "")).partition(":")[0]
    return f"{kind} {machine.get('gpu' if kind == 'cuda' else 'processor')}"


def _saved(
    row: Mapping[str, object], base: Mapping[str, object] | None, by_key: Mapping[str, Record]
) -> dict[str, Any]:
    if base is None or row["status"] != "done":
        return {}
    ours, theirs = by_key[str(row["key"])], by_key[str(base["key"])]
    found: dict[str, Any] = {}
    if ours.get("flops") and theirs.get("flops"):
        found["flops_saved"] = 100 * (1 - ours["flops"]["macs"] / theirs["flops"]["macs"])
    other_clock = row["clock"] != base["clock"]
    if other_clock and not row["cannot_be_captured"]:
        return found
    for name, kind in KINDS.items():
        try:
            middle, low, high = ratio(ours.get("timing") or {}, theirs.get("timing") or {}, kind)
        except ArbenchError:
            continue
        found |= {name: 100 * (1 - middle), name + LOW: 100 * (1 - high), name + HIGH: 100 * (1 - low)}
        if other_clock:
            found["other_clock"] = f"time saved: {row['clock']} times against {base['clock']} ones of the base"
    return found
