"""From a store to a folder that opens from disk, without a network."""

import shutil
from pathlib import Path

from harness.errors import ArbenchError
from harness.heap import no_collection
from reports import compare, explorer, leaderboard, measured, methods, trials
from reports.claims import page as claims
from reports.sheets import STATIC, Page, write
from reports.site import read

PAGES: tuple[Page, ...] = (
    trials.sheets,
    leaderboard.sheets,
    explorer.sheets,
    methods.sheets,
    compare.sheets,
    claims.sheets,
    measured.sheets,
)
"""In the order of the navigation; trials first, since they write the images that others show."""


def build(store: Path, out: Path) -> Path:
    """Write the report of a store into folder ``out``. Files of an earlier report are replaced, others are left alone.
    Returns the path of index.html.

    Raises ArbenchError if the store has no records or a damaged one, or if ``out`` cannot be written. The same store
    gives the same files.
    """
    with no_collection():  # thousands of records and rows, all of which stay to the end
        return _written(store, out)


def _written(store: Path, out: Path) -> Path:
    site = read(store)
    try:
        for place in ("", "data", "figures", "images", "static"):
            (out / place).mkdir(parents=True, exist_ok=True)
        for file in sorted(STATIC.iterdir()):
            shutil.copyfile(file, out / "static" / file.name)
        write([sheet for page in PAGES for sheet in page(site, out)], out)
    except OSError as error:
        raise ArbenchError(f"cannot write the report to {out}: {error.strerror or error}") from error
    return out / "index.html"
