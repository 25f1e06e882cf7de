"""Finds the figures (numbers such as FID or latency) on which a claim is judged.

Figures come from measured trials, from the costs of architectures, and from numbers that other sources published
(reports.published). If a figure is not available, ArbenchError says what is missing.

A figure that does not depend on chance is one number. Any other figure is an array of replicates. A replicate is the
value of the figure in one draw of the bootstrap. Draws are shared between trials: replicate k of a score uses the same
draw of images in all trials with the same labels, and replicate k of a time uses the same draw of timed samples in all
trials with equally many samples.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd

from harness import registry
from harness.errors import ArbenchError
from harness.records.comparison import RELATIVE, SESSIONS
from harness.records.setups import arithmetic_of, clock_of
from harness.records.store import Record, Store, trusted
from harness.stages.clocks import CAPTURED
from harness.stages.figures import FIGURES
from harness.stages.flops.costs import costs
from harness.trial import resolve_sampling
from reports import table
from reports.certainty import Certainty
from reports.claims.claim import Claim, Operand
from reports.claims.expression import Values
from reports.published import PublishedRow, published

Row = Mapping[str, Any]
NORMAL_95 = 1.96
OF_FIRST_CLOCK = {figure.name for figure in FIGURES if figure.clock == "first"}
"""Figures that depend on how the method ran: captured, compiled or eager."""
OF_DEVICE = {figure.name for figure in FIGURES if figure.clock or figure.derived}
"""Figures that depend on the machine: times, energy and floors."""


@dataclass(frozen=True)
class Found:
    """The figures (numbers such as FID or latency) that were found for an operand of a claim."""

    where: str  # where the operand's figures come from, in words
    keys: tuple[str, ...]  # keys of the records in which the operand was measured
    figures: Mapping[str, Values]  # by name


@dataclass
class Evidence:
    """Finds figures (numbers such as FID) for claims. Some were measured in one store, others need no measurement."""

    store: Store | None  # None: only figures that need no measurement are found
    records: Iterable[Record] | None = None  # the store's records, if they have been read already
    _certainties: dict[str, Certainty] = field(default_factory=dict)

    def of(self, claim: Claim) -> dict[str, Found]:
        """Name of an operand of the claim -> the operand's figures (numbers such as FID or latency).

        Raises ArbenchError that says what is missing.
        """
        trials = {name: operand for name, operand in claim.operands.items() if operand.kind == "trials"}
        found = {
            name: _of_model(operand) if operand.kind == "models" else _of_published(operand, _figures(claim, name))
            for name, operand in claim.operands.items()
            if name not in trials
        }
        return found | (self._measured(trials, claim) if trials else {})

    @cached_property
    def _by_kind(self) -> Mapping[tuple[str, str], list[Record]]:
        """All finished and trusted records, by method and preset. Other records are not used."""
        records = self.records if self.records is not None else self.store.records() if self.store else []
        found: dict[tuple[str, str], list[Record]] = {}
        for one in records:
            if one["status"] == "done" and trusted(one):
                found.setdefault((one["trial"]["method"], one["trial"]["preset"]), []).append(one)
        return found

    def _measured(self, trials: Mapping[str, Operand], claim: Claim) -> dict[str, Found]:
        asked = {name: {one["key"]: one for one in self._asked(operand)} for name, operand in trials.items()}
        for name, records in asked.items():
            if not records:
                raise ArbenchError(f"a record of {_words(trials[name])}")
        asked = _of_one_kind(asked, ARITHMETIC)
        figures = {figure for name in trials for figure in _figures(claim, name)}
        if figures & OF_FIRST_CLOCK:
            asked = _of_one_kind(asked, CLOCK)
        by_key = {key: one for records in asked.values() for key, one in records.items()}
        fid = claim.extractor or table.extractor(by_key.values())
        settings = _settings(list(by_key.values()), fid, claim.scored)
        rows = {name: _chosen(settings, records, trials[name], claim) for name, records in asked.items()}
        used = {key: by_key[key] for row in rows.values() for key in row["keys"]}
        if figures & OF_DEVICE:
            _one_machine(used.values())
        return {name: self._found(row, _figures(claim, name), fid, used) for name, row in rows.items()}

    def _asked(self, operand: Operand) -> list[Record]:
        """The records that match an operand.

        A record matches if it has the operand's method, preset and knobs. A knob that the operand does not name must
        have its default value. The record must also have every sampling value that the operand names; its other
        sampling values can be any.
        """
        select = operand.select
        try:
            knobs = registry.get(select["method"]).resolve(select.get("knobs", {}), select["preset"])
        except ArbenchError as error:
            raise ArbenchError(f"a record of {_words(operand)} ({error})") from error
        sampling = select.get("sampling", {}).items()
        return [
            one
            for one in self._by_kind.get((select["method"], select["preset"]), [])
            if one["trial"]["knobs"] == knobs and sampling <= one["trial"]["sampling"].items()
        ]

    def _found(self, row: Row, figures: Iterable[str], fid: str, used: Mapping[str, Record]) -> Found:
        assert self.store is not None
        certainty = self._certainties.setdefault(fid, Certainty(self.store, {}, fid))
        certainty.records = {**certainty.records, **used}
        sessions = {str((record.get("timing") or {}).get("session")) for record in used.values()}
        found = {}
        for figure in figures:
            if pd.isna(row.get(figure)):
                raise ArbenchError(f"{figure} of {row['name']}")
            found[figure] = certainty.of(row, figure)
            if figure in RELATIVE and len(sessions) > 1:
                found[figure] = found[figure] * _between_sessions(used[row["keys"][0]])
        return Found(row["name"], tuple(row["keys"]), found)


@dataclass(frozen=True)
class Kind:
    """A property that the records of a claim must have in common."""

    words: str  # records that have it in common, in words
    of: Callable[[Record], tuple[str, ...]]  # the property of a record
    said: str  # a value of the property in words
    usual: tuple[str, ...]  # the value that is taken if several have equally many records


ARITHMETIC = Kind("records of one precision and use of TF32", arithmetic_of, "{} with tf32 {}", ("fp32", "off"))
CLOCK = Kind(
    "records that were timed in one way", lambda record: (clock_of(record) or "not at all",), "timed {}", (CAPTURED,)
)
"""Captured, compiled or eager. It matters only for claims about times and energy."""


def _of_one_kind(asked: Mapping[str, Mapping[str, Record]], kind: Kind) -> dict[str, dict[str, Record]]:
    """The records of each operand that have one value of ``kind``, the same for all operands. If all operands have
    records of several values, the value of most records is taken."""
    counts = {name: Counter(map(kind.of, records.values())) for name, records in asked.items()}
    shared = set.intersection(*(set(values) for values in counts.values()))
    if not shared:
        said = {name: " or ".join(kind.said.format(*value) for value in sorted(counts[name])) for name in counts}
        raise ArbenchError(f"{kind.words} ({'; '.join(f'{name}: {words}' for name, words in said.items())})")
    most = max(shared, key=lambda value: (sum(found[value] for found in counts.values()), value == kind.usual, value))
    return {name: {key: one for key, one in records.items() if kind.of(one) == most} for name, records in asked.items()}


def _settings(records: Sequence[Record], fid: str, scored: bool) -> list[Row]:
    """One row for each setting, with means over seeds. Only records that can be compared with each other are used.

    scored: whether the claim needs scores. If the claim needs no scores, records on random weights are used as well.
    """
    rows = table.tidy(records, fid)
    parts = [table.comparable(rows)[0], *([] if scored else [rows[rows["random"]]])]
    return [row for part in parts if len(part) for row in table.dicts(table.over_seeds(part))]


def _chosen(settings: Sequence[Row], records: Mapping[str, Record], operand: Operand, claim: Claim) -> Row:
    """The row of an operand. Several rows can match if they differ in sampling: then the row of lowest FID is taken."""
    fitting = [row for row in settings if row["key"] in records]
    if not fitting:
        raise ArbenchError(f"a record of {_words(operand)} that can be compared with the others")
    enough = [row for row in fitting if row["images"] >= claim.images]
    if not enough:
        raise ArbenchError(f"{claim.images:,} images of {_words(operand)} (there are {fitting[0]['images']:,})")
    scored = [row for row in enough if pd.notna(row["fid"])]
    return min(scored, key=lambda row: float(row["fid"])) if scored else enough[0]


def _one_machine(records: Iterable[Record]) -> None:
    timings = [(record.get("timing") or {}, record.get("provenance") or {}) for record in records]
    machines = {str(timing.get("machine") or provenance.get("machine")) for timing, provenance in timings}
    devices = {str(timing.get("device")) for timing, _ in timings}
    if len(machines) > 1 or len(devices) > 1:
        raise ArbenchError("times of one machine (these were taken on several)")


def _between_sessions(record: Record) -> Values:
    """Random factors [R], one for each draw of the bootstrap. All times and energies of the record's session are
    multiplied by them.

    By chance, all times of one session can be longer or shorter than the times of another session. The factors
    simulate this random difference between sessions.
    """
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
    """The costs of an architecture: name of a cost -> value in the report's units. No weights are needed."""
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
