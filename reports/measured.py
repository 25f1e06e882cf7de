"""The page that says how trials were measured, and which failed."""

from collections.abc import Iterator
from pathlib import Path

from reports import table
from reports.protocol import protocol
from reports.sheets import Sheet
from reports.site import Site, short


def sheets(site: Site, out: Path) -> Iterator[Sheet]:
    """The page measured.html."""
    rows = table.dicts(site.rows[site.rows["status"] != "done"])
    failed = [
        {
            "name": row["name"],
            "href": f"trial.html#{short(row['key'])}",
            "stage": row["stage"] or "unknown",
            "reason": row["reason"] or "no reason recorded",
        }
        for row in rows
    ]
    content = {"protocol": protocol(list(site.records.values())), "failed": failed, "notes": site.notes}
    yield Sheet("measured.html", "How it was measured", "measured.html", content, "Measured")
