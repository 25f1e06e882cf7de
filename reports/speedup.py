"""Realised speed-up per setting and batch size: time and FLOPs saved in comparison with the method's base method."""

from collections.abc import Iterable, Mapping

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
    round by round.
    """
    by_key = {str(record["key"]): record for record in records}
    bases: dict[tuple[str, ...], Mapping[str, object] | None] = {}
    found = []
    for row in dicts(rows):
        name = base_of(str(row["method"]), str(row["family"]))
        place = (name, str(row["preset"]), str(row["images"]), str(row["arithmetic"]))
        if place not in bases:
            bases[place] = _base(row, rows)
        own = row["method"] == place[0]
        found.append(_saved(row, None if own else bases[place], by_key))
    return rows.assign(**pd.DataFrame(found, index=rows.index, columns=_COLUMNS).astype(float))


_COLUMNS = ["flops_saved", *(name + end for name in KINDS for end in ("", LOW, HIGH))]


def _base(row: Mapping[str, object], rows: pd.DataFrame) -> Mapping[str, object] | None:
    """The base with which ``row`` is compared; None if there is no base.

    Candidates are the rows of the base method with the same preset, number of images, precision and use of TF32 as
    ``row``. The base is the candidate of lowest FID.
    """
    name = base_of(str(row["method"]), str(row["family"]))
    same = (rows["method"] == name) & (rows["preset"] == row["preset"]) & (rows["images"] == row["images"])
    candidates = rows[same & (rows["arithmetic"] == row["arithmetic"]) & rows["fid"].notna()]
    if candidates.empty:
        return None
    return dicts(candidates.loc[[candidates["fid"].idxmin()]])[0]


def _saved(
    row: Mapping[str, object], base: Mapping[str, object] | None, by_key: Mapping[str, Record]
) -> dict[str, float]:
    if base is None or row["status"] != "done":
        return {}
    ours, theirs = by_key[str(row["key"])], by_key[str(base["key"])]
    found = {}
    if ours.get("flops") and theirs.get("flops"):
        found["flops_saved"] = 100 * (1 - ours["flops"]["macs"] / theirs["flops"]["macs"])
    for name, kind in KINDS.items():
        try:
            middle, low, high = ratio(ours.get("timing") or {}, theirs.get("timing") or {}, kind)
        except ArbenchError:
            continue
        found |= {name: 100 * (1 - middle), name + LOW: 100 * (1 - high), name + HIGH: 100 * (1 - low)}
    return found
