"""How sure a place on the frontier is: the frontier drawn anew for every replicate of the figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.store import REPLICATES, Record, Store
from reports.frontier import Better, frontier
from reports.table import Measure, dicts

ON, UNDECIDED, OFF = "on", "undecided", "off"
CONFIDENCE = 0.95
SCORES = {"fid": "fid.{}", "is": "is"}
"""Report's scores -> names of their replicates; {} is the extractor."""
TIMES = {"latency": "latency", "throughput": "throughput"}

Matrix = NDArray[np.float64]
_COUNT = 1000  # replicates, as many as the scores have


def standings(x: Matrix, y: Matrix, better: tuple[Better, Better] = ("low", "low")) -> list[str]:
    """``on``, ``off`` or ``undecided`` for each of n points, at 95 %; empty for one that is not finite.

    x, y: replicates [n, R], drawn alike for all points: what they share moves them together.
    """
    shares = np.stack([frontier(cost, score, better) for cost, score in zip(x.T, y.T, strict=True)]).mean(axis=0)
    words = [ON if share >= CONFIDENCE else OFF if share <= 1 - CONFIDENCE else UNDECIDED for share in shares.tolist()]
    return [word if np.isfinite(row).all() else "" for word, row in zip(words, np.hstack([x, y]), strict=True)]


@dataclass
class Certainty:
    """The replicates of a store's figures, read once. records: by key; fid: name of the report's extractor."""

    store: Store
    records: Mapping[str, Record]
    fid: str
    _arrays: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict)

    def standing(self, rows: pd.DataFrame, cost: Measure, score: Measure) -> list[str]:
        """``standings`` of the settings in ``rows``, as ``over_seeds`` gives them, on the frontier of both."""
        if rows.empty:
            return []
        x, y = (np.stack([self.of(row, measure.name) for row in dicts(rows)]) for measure in (cost, score))
        return standings(x, y, (cost.better or "low", score.better or "low"))

    def of(self, row: Mapping[str, Any], measure: str) -> Matrix:
        """Replicates [R] of a measure of a row of ``over_seeds``; of one that has none, itself as often."""
        value = float(row[measure])
        found = [self._seed(key, measure) for key in row["keys"]]
        known = [one for one in found if one is not None]
        if not known or len(known) < len(found):
            return np.full(_COUNT, value)
        mean = np.mean(known, axis=0)
        return value * mean / mean.mean() if measure in TIMES else value + mean - mean.mean()

    def _seed(self, key: str, measure: str) -> Matrix | None:
        record = self.records[key]
        if measure in TIMES:
            timed = (record.get("timing") or {}).get(TIMES[measure]) or {}
            medians = _medians(np.asarray(timed.get("samples") or [], np.float64))
            return 1 / medians if measure == "throughput" and medians is not None else medians
        if measure not in SCORES:
            return None
        if key not in self._arrays:
            self._arrays[key] = self.store.arrays(record)
        found = self._arrays[key].get(REPLICATES + SCORES[measure].format(self.fid))
        return None if found is None else found.astype(np.float64)


def _medians(samples: Matrix) -> Matrix | None:
    """Medians of samples drawn again. Cases of one session have as many samples, and so the same rounds are drawn."""
    if len(samples) < 2:
        return None
    rounds = np.random.default_rng(0).integers(0, len(samples), (_COUNT, len(samples)))
    return np.median(samples[rounds], axis=1)
