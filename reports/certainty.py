"""How certain it is that a setting is on the frontier (reports.frontier), by the bootstrap.

The images of a trial, or its timed samples, are drawn with replacement, many times. From each draw, FID, latency and
the other metrics are computed again. The result of one draw is called a replicate. The frontier is computed anew for
every replicate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.records.comparison import RELATIVE
from harness.records.store import REPLICATES, Record, Store
from harness.stages import CONFIDENCE, clocks
from harness.stages.figures import Figure
from harness.stages.timing.summary import PERCENTILES, rank
from reports.frontier import Better, frontier
from reports.table import dicts

ON, UNDECIDED, OFF = "on", "undecided", "off"
SCORES = {"fid": "fid.{}", "is": "is"}
"""Name of a score in the report -> name of the score's replicates in a record; {} stands for the extractor."""


@dataclass(frozen=True)
class Time:
    """A time, or a rate that follows from it: a percentile of timed samples."""

    kind: Literal["latency", "throughput"]  # in a record
    eager: bool = False  # whether it is of the eager clock (harness.stages.clocks)
    share: float = 0.5  # which percentile


TIMES = {
    "latency": Time("latency"),
    "latency_p90": Time("latency", share=PERCENTILES["p90"]),
    "latency_p99": Time("latency", share=PERCENTILES["p99"]),
    "throughput": Time("throughput"),
    "eager_latency": Time("latency", eager=True),
    "eager_throughput": Time("throughput", eager=True),
}

Matrix = NDArray[np.float64]
_COUNT = 1000  # number of replicates; the scores have as many


def standings(x: Matrix, y: Matrix, better: tuple[Better, Better] = ("low", "low")) -> list[str]:
    """Say in one word for each of n points whether the point is on the frontier.

    ``on``: the point is on the frontier in at least 95 % of the bootstrap's draws
    ``off``: in at most 5 %
    ``undecided``: in between
    "": a coordinate of the point is not finite

    x, y: the points' coordinates in R draws of the bootstrap, [n, R]. In each column, all points have the same draw.
    Random variation that the points share therefore moves all points together.
    """
    known = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    words = np.where(known, OFF, "").astype(object)
    near = np.flatnonzero(known)[_contenders(x[known], y[known], better)]
    if len(near):
        drawn = zip(x[near].T, y[near].T, strict=True)
        shares = np.stack([frontier(cost, score, better) for cost, score in drawn]).mean(axis=0)
        words[near] = [ON if s >= CONFIDENCE else OFF if s <= 1 - CONFIDENCE else UNDECIDED for s in shares.tolist()]
    return [str(word) for word in words]


def _contenders(x: Matrix, y: Matrix, better: tuple[Better, Better]) -> NDArray[np.bool_]:
    """Which of n points can be on the frontier in some draw of the bootstrap: bool [n].

    A point P is left out if the worst x of another point is at least as good as the best x of P, and the worst y of the
    other point is better than the best y of P. P is then on the frontier in no draw. Without P, the frontier of
    the other points is the same. Of thousands of points, only a few are kept.
    """
    if not len(x):
        return np.zeros(0, bool)
    x, y = (values if end == "low" else -values for values, end in zip((x, y), better, strict=True))
    worst = x.max(axis=1)
    order = worst.argsort(kind="stable")
    reached = np.minimum.accumulate(y.max(axis=1)[order])
    before = np.searchsorted(worst[order], x.min(axis=1), side="right")
    return (before == 0) | (y.min(axis=1) <= reached[np.maximum(before, 1) - 1])


@dataclass
class Certainty:
    """The values of a store's metrics in each draw of the bootstrap (the replicates), read once."""

    store: Store
    records: Mapping[str, Record]  # by key
    fid: str  # name of the report's extractor
    _arrays: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict)
    _matrices: dict[tuple[str, tuple[Any, ...]], Matrix] = field(default_factory=dict)

    @cached_property
    def wanted(self) -> frozenset[str]:
        """The names of the arrays that are read from each record."""
        return frozenset(REPLICATES + score.format(self.fid) for score in SCORES.values())

    def keep(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep ``arrays``, which the caller has read from a record anyway, so that they are not read again."""
        self._arrays[key] = {name: arrays[name] for name in self.wanted if name in arrays}

    def standing(self, rows: pd.DataFrame, cost: Figure, score: Figure) -> list[str]:
        """Say where each row stands on the frontier of ``score`` against ``cost``, in the words of ``standings``.

        rows: one row for each setting, as ``reports.table.over_seeds`` gives them.
        """
        if rows.empty:
            return []
        x, y = (self._matrix(rows, measure.name) for measure in (cost, score))
        return standings(x, y, (cost.better or "low", score.better or "low"))

    def _matrix(self, rows: pd.DataFrame, measure: str) -> Matrix:
        """The values of a measure in R draws of the bootstrap (the replicates), for each of n rows: [n, R].

        The replicates are kept for later calls, because every frontier has an axis in common with another frontier.
        """
        place = measure, tuple(rows["keys"])
        if place not in self._matrices:
            self._matrices[place] = np.stack([self.of(row, measure) for row in dicts(rows)])
        return self._matrices[place]

    def of(self, row: Mapping[str, Any], measure: str) -> Matrix:
        """The values of a measure in R draws of the bootstrap (the replicates), for one setting: [R].

        If the measure has no replicates, its value is repeated R times.

        row: a row of ``over_seeds``.
        """
        value = float(row[measure])
        found = [self._seed(key, measure) for key in row["keys"]]
        known = [one for one in found if one is not None]
        if not known or len(known) < len(found):
            return np.full(_COUNT, value)
        mean = np.mean(known, axis=0)
        # The replicates of p99 are skewed: their mean is above most of them.
        tail = measure in TIMES and TIMES[measure].share != 0.5
        centre = np.median(mean) if tail else mean.mean()
        return value * mean / centre if measure in RELATIVE else value + mean - centre

    def _seed(self, key: str, measure: str) -> Matrix | None:
        record = self.records[key]
        if measure in TIMES:
            return _time(record.get("timing") or {}, TIMES[measure])
        if measure == "joules":
            return _around(((record.get("timing") or {}).get("throughput") or {}).get("joules_per_image_interval"), key)
        if measure not in SCORES:
            return None
        if key not in self._arrays:
            self.keep(key, self.store.arrays(dict(record), self.wanted.__contains__))
        found = self._arrays[key].get(REPLICATES + SCORES[measure].format(self.fid))
        return None if found is None else found.astype(np.float64)


def _around(ends: Sequence[float] | None, key: str) -> Matrix | None:
    """Replicates of a value above 0, drawn from its 95 % interval, [R]; None without an interval. The draws of two keys
    are independent."""
    if not ends:
        return None
    low, high = np.log(ends)
    drawn = np.random.default_rng([*key.encode()]).standard_normal(_COUNT)
    return np.exp((low + high) / 2 + drawn * (high - low) / 2 / NormalDist().inv_cdf((1 + CONFIDENCE) / 2))


def _time(timing: Mapping[str, Any], time: Time) -> Matrix | None:
    """Replicates of a time (of a rate, if ``time`` is a throughput), [R]; None for fewer than two samples."""
    timed = ((clocks.eager(timing) if time.eager else timing) or {}).get(time.kind) or {}
    drawn = _percentiles(np.asarray(timed.get("samples") or [], np.float64), time.share)
    return 1 / drawn if time.kind == "throughput" and drawn is not None else drawn


def _percentiles(samples: Matrix, share: float) -> Matrix | None:
    """A percentile of timed samples in each of R bootstrap draws, [R]; None for fewer than two samples.

    share: 0.5 is the median, which may lie between two samples. Other percentiles are samples
    (harness.stages.timing.summary.rank).

    In each draw, samples are drawn with replacement. The draw depends only on the number of samples. Trials with
    equally many samples, as most trials of a session have, therefore get the same draw.
    """
    # A session times its trials in rounds, and sample i of each trial is from round i. With the same draw, trials of a
    # session are compared over the same rounds.
    if len(samples) < 2:
        return None
    order = samples.argsort()
    below = np.cumsum(_drawn(len(samples))[order], axis=0, dtype=np.int16)  # number of draws up to the i-th sample
    at = rank(len(samples), share)
    ranks = (at, len(samples) // 2) if share == 0.5 else (at, at)
    lower, upper = (samples[order[(below <= at).sum(axis=0)]] for at in ranks)
    return (lower + upper) / 2


@cache
def _drawn(samples: int) -> NDArray[np.int16]:
    """How often each sample is drawn in each of R bootstrap draws, [samples, R]."""
    rounds = np.random.default_rng(0).integers(0, samples, (_COUNT, samples))
    return np.stack([np.bincount(one, minlength=samples) for one in rounds], axis=1).astype(np.int16)
