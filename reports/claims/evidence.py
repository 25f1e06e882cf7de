"""What a claim is judged by: figures of measured trials, of architectures, of published rows.

A figure is an array of replicates, drawn alike for all figures of a store, or one number where nothing is left to
chance. What cannot be had raises ArbenchError, which says what is missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from harness import registry
from harness.comparison import SESSIONS
from harness.costs import costs
from harness.errors import ArbenchError
from harness.store import Record, Store, trusted
from harness.trial import resolve_sampling
from reports import table
from reports.certainty import TIMES, Certainty
from reports.claims.claim import Claim, Operand
from reports.claims.expression import Values
from reports.published import PublishedRow, published

Row = Mapping[str, Any]
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Found:
    """What an operand was found to be. where: in words; keys: of the records it was measured by; figures: by name."""

    where: str
    keys: tuple[str, ...]
    figures: Mapping[str, Values]


@dataclass
class Evidence:
    """The evidence of one store; None has only what needs no measurement. records: the store's, where they are read."""

    store: Store | None
    records: Sequence[Record] | None = None
    _pools: dict[tuple[str, str], "_Pool"] = field(default_factory=dict)

    def of(self, claim: Claim) -> dict[str, Found]:
        """What the operands of a claim are. Raises ArbenchError saying what is missing."""
        trials = {name: operand for name, operand in claim.operands.items() if operand.kind == "trials"}
        found = {
            name: _of_model(operand) if operand.kind == "models" else _of_published(operand, _figures(claim, name))
            for name, operand in claim.operands.items()
            if name not in trials
        }
        rows = {name: self._row(operand, claim) for name, operand in trials.items()}
        timed = any(figure in TIMES for name in trials for figure in _figures(claim, name))
        return found | _measured(rows, claim, timed)

    def _read(self) -> Sequence[Record]:
        if self.records is None:
            self.records = [] if self.store is None else self.store.records()
        return self.records

    def _row(self, operand: Operand, claim: Claim) -> tuple["_Pool", Row]:
        preset = str(operand.select["preset"])
        if (preset, claim.extractor) not in self._pools:
            self._pools[preset, claim.extractor] = _pool(self.store, self._read(), preset, claim.extractor)
        pool = self._pools[preset, claim.extractor]
        return pool, pool.row(operand, claim)


@dataclass(frozen=True)
class _Pool:
    """The trials of one preset. main: settings that may be compared; random: of random weights, costs alone."""

    records: Mapping[str, Record]
    certainty: Certainty | None
    main: Sequence[Row]
    random: Sequence[Row]

    def row(self, operand: Operand, claim: Claim) -> Row:
        """The trial asked for; where several differ in sampling alone, the one of lowest FID."""
        select, words = operand.select, _words(operand)
        try:
            owner = registry.get(select["method"])
            knobs = owner.resolve(select.get("knobs", {}), select["preset"])
        except ArbenchError as error:
            raise ArbenchError(f"a record of {words} ({error})") from error
        rows = [*self.main, *(() if claim.scored else self.random)]
        fitting = [row for row in rows if self._fits(row, select, knobs)]
        if not fitting:
            raise ArbenchError(f"a record of {words}")
        enough = [row for row in fitting if row["images"] >= claim.images]
        if not enough:
            raise ArbenchError(f"{claim.images:,} images of {words} (there are {fitting[0]['images']:,})")
        scored = [row for row in enough if pd.notna(row["fid"])]
        return min(scored, key=lambda row: float(row["fid"])) if scored else enough[0]

    def _fits(self, row: Row, select: Mapping[str, Any], knobs: Mapping[str, Any]) -> bool:
        trial = self.records[row["key"]]["trial"]
        sampled = all(trial["sampling"].get(name) == value for name, value in select.get("sampling", {}).items())
        return bool(row["method"] == select["method"] and trial["knobs"] == knobs and sampled)


def _pool(store: Store | None, read: Sequence[Record], preset: str, extractor: str) -> _Pool:
    records = [one for one in read if one["trial"]["preset"] == preset]
    records = [one for one in records if one["status"] == "done" and trusted(one)]
    if store is None or not records:
        return _Pool({}, None, (), ())
    fid = extractor or table.extractor(records)
    rows = table.tidy(records, fid)
    by_key = {record["key"]: record for record in records}
    main, random = table.comparable(rows)[0], rows[rows["random"]]
    settled = [table.dicts(table.over_seeds(part)) if len(part) else [] for part in (main, random)]
    return _Pool(by_key, Certainty(store, by_key, fid), *settled)


def _measured(rows: Mapping[str, tuple[_Pool, Row]], claim: Claim, timed: bool) -> dict[str, Found]:
    records = {key: pool.records[key] for pool, row in rows.values() for key in row["keys"]}
    if timed:
        _one_machine(records.values())
    sessions = {str((record.get("timing") or {}).get("session")) for record in records.values()}
    found = {}
    for name, (pool, row) in rows.items():
        assert pool.certainty is not None
        figures = {}
        for figure in _figures(claim, name):
            if pd.isna(row.get(figure)):
                raise ArbenchError(f"{figure} of {row['name']}")
            figures[figure] = pool.certainty.of(row, figure)
            if figure in TIMES and len(sessions) > 1:
                figures[figure] = figures[figure] * _between_sessions(records[row["keys"][0]])
        found[name] = Found(row["name"], tuple(row["keys"]), figures)
    return found


def _one_machine(records: Any) -> None:
    timings = [(record.get("timing") or {}, record.get("provenance") or {}) for record in records]
    machines = {str(timing.get("machine") or provenance.get("machine")) for timing, provenance in timings}
    devices = {str(timing.get("device")) for timing, _ in timings}
    if len(machines) > 1 or len(devices) > 1:
        raise ArbenchError("times of one machine (these were taken on several)")


def _between_sessions(record: Record) -> Values:
    """What a session may have changed about all of its times: factors [R]."""
    seed = [*str(record["timing"]["session"]).encode()]
    drawn = np.random.default_rng(seed).standard_normal(1000)
    return np.exp(drawn * SESSIONS / NORMAL_95 / 2**0.5)


def _of_model(operand: Operand) -> Found:
    select = operand.select
    return Found(_words(operand), (), _model(select["method"], select["preset"], _frozen(select.get("knobs", {})),
                                             _frozen(select.get("sampling", {}))))  # fmt: skip


@cache
def _model(
    method: str, preset: str, knobs: tuple[tuple[str, Any], ...], sampling: tuple[tuple[str, Any], ...]
) -> Mapping[str, Values]:
    """Costs of an architecture, without weights: in the units of the report."""
    try:
        owner = registry.get(method)
        settings = resolve_sampling(owner.preset_named(preset).sampling, dict(sampling))
        found = costs(owner, preset, owner.resolve(dict(knobs), preset), settings)
    except ArbenchError as error:
        raise ArbenchError(f"{method}, preset {preset} ({error})") from error
    macs, decoder = sum(found["macs"].values()), found["macs"].get("tokenizer", 0)
    figures = {
        "params": found["parameters"]["network"] * 1e-6,
        "gmacs": macs * 1e-9,
        "gmacs_tokens": (macs - decoder) * 1e-9,
        "steps": len(found["steps"]) or None,
    }
    return {name: np.asarray(value, np.float64) for name, value in figures.items() if value is not None}


def _of_published(operand: Operand, figures: Sequence[str]) -> Found:
    select = operand.select
    fitting = [row for row in published() if all(_published_value(row, key) == select[key] for key in select)]
    if len(fitting) != 1:
        raise ArbenchError(f"one published row of {_words(operand)} (there are {len(fitting)})")
    known = {figure: fitting[0].figure(figure) for figure in figures}
    if lacking := [figure for figure, value in known.items() if value is None]:
        raise ArbenchError(f"a published {lacking[0]} of {_words(operand)}")
    return Found(
        f"published: {fitting[0].source}", (), {name: np.asarray(value, np.float64) for name, value in known.items()}
    )


def _published_value(row: PublishedRow, key: str) -> Any:
    return row.figure("steps") if key == "steps" else getattr(row, key)


def _figures(claim: Claim, name: str) -> list[str]:
    return sorted(figure for whose, figure in claim.expression.names if whose == name)


def _frozen(given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(given.items()))


def _words(operand: Operand) -> str:
    select = operand.select
    rest = {**select.get("knobs", {}), **select.get("sampling", {})}
    if operand.kind == "published":
        return ", ".join(str(value) for value in select.values())
    words = [f"preset {select['preset']}", *(f"{name} {value}" for name, value in rest.items())]
    return f"{select['method']} ({', '.join(words)})"
