"""The data that all pages of a store share. The store is read once."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.errors import ArbenchError
from harness.files import valid_text
from harness.plugins.looks import base_of
from harness.progress import counted
from harness.records.store import KEY_SHOWN, Record, Store
from harness.stages.figures import Figure
from reports import figures, speedup, table
from reports.certainty import Certainty
from reports.figures import Style
from reports.names import safe
from reports.protocol import machine_words

COSTS = ("steps", "gflops", "latency", "throughput")
"""The costs. The leaderboard shows the frontier of FID against each of them."""


@dataclass
class Site:
    """The content of a store, as the pages of the report need it."""

    store: Store
    records: Mapping[str, Record]  # key -> record; sorted by the records' names
    facts: Mapping[str, Any]  # about the reference (``reference.json``)
    fid: str  # the extractor of the FID by which the report ranks
    rows: pd.DataFrame  # one row per trial
    main: pd.DataFrame  # the rows that can be compared with each other
    settings: pd.DataFrame  # one row per setting of ``main``, with means over seeds
    tuned: pd.DataFrame  # settings at their best guidance
    looks: Mapping[str, Style]  # how each method is drawn
    notes: list[str] = field(default_factory=list)  # what the reader must be told first
    note: str = ""  # what is still open, if the report is not the last
    images: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # key -> strip; reports.trials adds them

    @cached_property
    def certainty(self) -> Certainty:
        """Says how certain it is that a setting is on the frontier, from the bootstrap replicates of metrics."""
        return Certainty(self.store, self.records, self.fid)

    @property
    def measures(self) -> dict[str, Figure]:
        """Name of a measure -> the measure. The title of FID includes the name of the extractor."""
        return {measure.name: measure for measure in table.named(self.fid)}

    @cached_property
    def shown(self) -> pd.DataFrame:
        """The settings that are drawn in curves and frontiers.

        They are the rows of ``tuned``: the settings at their best guidance. One part of ``tuned`` is left out: the rows
        of a sparse method at zero sparsity, if the method's dense method was measured, too.
        """
        pairs = zip(self.tuned["method"], self.tuned["family"], strict=True)
        there = set(self.tuned["method"])
        has_base = np.array([base_of(str(method), str(family)) in there for method, family in pairs], bool)
        return self.tuned[~(table.is_dense(self.tuned) & has_base)]

    @cached_property
    def board(self) -> pd.DataFrame:
        """Each method's setting of lowest FID, the best first."""
        return table.leaderboard(self.settings)

    @cached_property
    def standing(self) -> dict[str, list[str]]:
        """Name of a cost -> one word for each row of ``shown``: on, off or undecided.

        The word says whether the row is on the frontier of FID against this cost.
        """
        fid = self.measures["fid"]
        return {cost: self.certainty.standing(self.shown, self.measures[cost], fid) for cost in COSTS}


def read(folder: Path) -> Site:
    """Read a store. Raises ArbenchError if the store has no records that can be read."""
    store = Store(folder).must_exist()
    records = store.records()
    if not records:
        raise ArbenchError(f"{folder} holds no records (arbench run SWEEP --store {folder} makes them)")
    fid = table.extractor(records)
    rows = speedup.added(table.tidy(records, fid), records)
    main, aside = table.comparable(rows)
    settings = table.over_seeds(main)
    facts = store.facts()
    tuned, looks = table.at_best_guidance(settings), figures.styles(rows["method"])
    site = Site(store, {r["key"]: r for r in records}, facts, fid, rows, main, settings, tuned, looks)
    site.notes += [f"Not compared with the rest: {line}." for line in aside]
    site.notes += _notes(site)
    return site


def _notes(site: Site) -> Iterator[str]:
    """Notes on what is missing or odd, so that nothing is left out silently."""
    if site.store.damaged:
        yield f"Left out, as they cannot be read: {', '.join(sorted(map(valid_text, site.store.damaged)))}."
    if not site.facts:
        yield "The store has no reference.json, so tokenizers' rFID and the test images' own scores are not shown."
    if random := int(site.rows["random"].sum()):
        yield f"{random} of {len(site.rows)} trials ran on random weights: no scores, no ranking, marked below."
    if foreign := sum("foreign" in record for record in site.records.values()):
        yield f"{foreign} of {len(site.rows)} rows are of foreign samples: scored here, made elsewhere, without a cost."
    if site.main.empty:
        yield "No trial that has scores has finished yet."
    if failed := int((site.rows["status"] != "done").sum()):
        yield f"{failed} of {len(site.rows)} trials failed; they are listed under failed trials with their reason."
    for name, what in (("fid", f"FID ({site.fid})"), ("gflops", "FLOPs"), ("latency", "time")):
        if lacking := int(site.main[name].isna().sum()):
            yield f"Finished trials without {what}: {lacking}; they are in the tables, not in figures that need it."
    records = site.records.values()
    flags = Counter(flag for record in records for flag in table.flags(record))
    yield from (f"{flag} ({counted(count, 'trial')})." for flag, count in flags.most_common())
    if noisy := int(site.main["noisy"].sum()):
        yield (
            f"Trials timed on a noisy machine (interval over 10 % of the median): {noisy}, marked ≈. Their rows say"
            " what disturbed them."
        )
    if disturbed := int(site.main["gpu_disturbed"].sum()):
        yield (
            f"Trials timed on a GPU that was throttled, or that other processes used: {disturbed}, marked †. Their rows"
            " say how."
        )
    clocks = Counter(clock for clock in site.rows["clock"] if clock)
    if len(clocks) > 1:
        told = ", ".join(f"{count} {clock}" for clock, count in clocks.most_common())
        yield f"Trials were timed in several ways: {told}. Their times differ for that reason, too; each row says how."
    for what, values in (("commits", commits(records)), ("machines", machines(records))):
        if len(values) > 1:
            yield f"Records come from {len(values)} {what}: {'; '.join(values)}. Times across them do not compare."


def head(site: Site) -> dict[str, Any]:
    """What the first page says about the whole store."""
    records = site.records.values()
    finished = [str((r.get("provenance") or {}).get("finished") or "") for r in records]
    counts = sorted({int(n) for n in site.main["images"]}) or sorted({int(n) for n in site.rows["images"]})
    return {
        "methods": site.rows["method"].nunique(),
        "trials": len(site.rows),
        "failed": int((site.rows["status"] != "done").sum()),
        "images": f"{counts[0]:,}",
        "preset": " and ".join(sorted(site.rows["preset"].unique())),
        "machine": "; ".join(machines(records)),
        "commit": "; ".join(commits(records)),
        "finished": max(finished)[:10],
    }


def short(key: str) -> str:
    """A short form of a trial's key, for the site's file names and addresses.

    The short form is safe in a path, whatever characters the key holds. `arbench compare` accepts the short form.
    """
    return safe(key[:KEY_SHOWN])


def commits(records: Iterable[Record]) -> list[str]:
    """The commits with which records were made, in words."""
    found = (r.get("provenance") or {} for r in records)
    known = {(str(p.get("commit", "unknown"))[:12], bool(p.get("dirty"))) for p in found}
    return sorted(commit + (" with local changes" if dirty else "") for commit, dirty in known)


def machines(records: Iterable[Record]) -> list[str]:
    """The machines on which records were made, in words."""
    return sorted({machine_words((r.get("provenance") or {}).get("machine") or {}) for r in records})
