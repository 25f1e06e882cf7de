"""The report of a store: a folder of pages that open from disk, without a network."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.errors import ArbenchError
from harness.machine.garbage import no_collection
from reports import compare, explorer, leaderboard, measured, methods, trials
from reports.claims import page as claims
from reports.sheets import STATIC, Page, write
from reports.site import Site, read

PAGES: tuple[Page, ...] = (
    trials.sheets,
    leaderboard.sheets,
    explorer.sheets,
    methods.sheets,
    compare.sheets,
    claims.sheets,
    measured.sheets,
)
"""The pages in the order of the navigation. The page of trials is first: it writes images that other pages show."""
COSTLY: tuple[Page, ...] = (explorer.sheets, claims.sheets)
"""The pages that take by far the most time if a report has few trials.

They are left out of a report that will soon be replaced.
"""
HIDDEN = ".writing-"
"""A report is first made in a folder whose name is this text followed by the number of the process."""


def build(store: Path, out: Path, note: str = "") -> Path:
    """Write the report of a store into folder ``out``; returns the path of index.html.

    Files of an earlier report are replaced, other files are left alone. New files are first made in a separate
    folder and then moved into ``out``, so that a killed process leaves no half-written page. The same store gives the
    same files.

    note: text that says what is still to be done, for a report that will soon be replaced. If there is a note, it
    stands at the top of every page, and the slowest pages (``COSTLY``) are left out.

    Raises ArbenchError if the store has no records that can be read, or if ``out`` cannot be written.
    """
    with no_collection():  # thousands of records and rows, all of which stay to the end
        site = read(store)
        site.note = note
        try:
            for place in ("", "data", "figures", "images", "static"):
                (out / place).mkdir(parents=True, exist_ok=True)
            _remove_leftovers(out)
            draft = out / f"{HIDDEN}{os.getpid()}"
            try:
                _written(site, draft, [page for page in PAGES if not (note and page in COSTLY)])
                _moved(draft, out)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        except OSError as error:
            raise ArbenchError(f"cannot write the report to {out}: {error.strerror or error}") from error
    return out / "index.html"


def _written(site: Site, out: Path, pages: Sequence[Page]) -> None:
    for place in ("", "data", "figures", "images", "static"):
        (out / place).mkdir(parents=True, exist_ok=True)
    for file in sorted(STATIC.iterdir()):
        shutil.copyfile(file, out / "static" / file.name)
    write([sheet for page in pages for sheet in page(site, out)], out, site.note)


def _moved(draft: Path, out: Path) -> None:
    """Move the files of a report from ``draft``, the folder in which they were made, to the same paths in ``out``.

    Pages come last, after the files that they need.
    """
    for file in sorted(draft.rglob("*"), key=lambda path: (path.parent == draft, path)):
        if file.is_file():
            target = out / file.relative_to(draft)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)


def _remove_leftovers(out: Path) -> None:
    """Remove the folders that killed runs of ``build`` left behind in ``out``.

    ``build`` first makes a report in a separate folder. The number of the process is part of the folder's name. Such a
    folder is removed if no process with this number runs.
    """
    for draft in out.glob(f"{HIDDEN}*"):
        number = draft.name.removeprefix(HIDDEN)
        if number.isdecimal() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(draft, ignore_errors=True)
