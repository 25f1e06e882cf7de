"""Compares two records: which scores and costs differ by more than chance.

Scores are compared by their replicates. A replicate is the value of a score in one draw of the bootstrap, which draws
images with replacement. If two trials have the same labels, the draws are the same too: image i of one trial is drawn
as often as image i of the other trial. If the two seeds are also the same, the images of both trials were made from the
same noise. The variation that both trials share then cancels, and the comparison is paired.

A timing session measures several trials in turns, round by round. Two times from the same session are compared round
by round. Two times from different sessions can differ even if nothing has changed. The constant SESSIONS says by how
much, as a share of the time. Only a difference larger than this share counts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import expm1, hypot, log
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.records.setups import differences_of_setup
from harness.records.store import REPLICATES, Record, Store
from harness.stages import CONFIDENCE, clocks
from harness.stages.figures import FIGURES, figure_named, flat, scores
from harness.stages.timing.summary import ratio

SESSIONS = 0.10
"""Times from two sessions on one machine may differ by this share even if nothing has changed."""
SECOND_CLOCK = {"latency": "eager_latency", "throughput": "eager_throughput"}
"""The times of a record's first clock -> those of its eager clock."""
RELATIVE = frozenset(figure.name for figure in FIGURES if figure.relative)
"""What is compared by logarithm: times, and energy."""
EXACT = 1e-3
"""Multiply-adds and steps that differ by no more than this share count as equal: they are counted on few images, and on
another machine a token in a thousand may differ."""
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Difference:
    """The difference of one score or cost between two records."""

    figure: str
    one: float
    other: float
    # ``other - one`` lies between low and high. The figures in RELATIVE are compared by logarithm, so their low and
    # high are relative.
    low: float
    high: float
    paired: bool  # whether the variation that both records share was taken out

    @property
    def moved(self) -> bool:
        """Whether the score or cost differs by more than chance, that is, whether the interval excludes 0."""
        return not self.low <= 0 <= self.high

    @property
    def better(self) -> Literal["one", "other", ""]:
        """The record with the better value: ``one`` or ``other``. Empty if the difference may be due to chance."""
        if not self.moved:
            return ""
        return "other" if (self.high < 0) == (self.figure.partition(".")[0] not in _high()) else "one"


def differences(
    one: tuple[Record, Arrays], other: tuple[Record, Arrays], confidence: float = CONFIDENCE
) -> list[Difference]:
    """The difference of each score and each cost that both records have.

    Each difference has an interval at the level ``confidence``. Both trials must have finished.

    one, other: a record and its arrays.
    """
    return [*_scores(one, other, confidence), *_costs(one[0], other[0], confidence)]


def _scores(one: tuple[Record, Arrays], other: tuple[Record, Arrays], confidence: float) -> Iterator[Difference]:
    (record, arrays), (record_2, arrays_2) = one, other
    values, values_2 = flat(record["quality"] or {}), flat(record_2["quality"] or {})
    paired = _alike(arrays, arrays_2) and record["trial"]["seed"] == record_2["trial"]["seed"]
    wide = NormalDist().inv_cdf((1 + confidence) / 2)
    known = {figure.name for figure in scores()}
    for key in arrays:
        name = key.removeprefix(REPLICATES)
        if name == key or key not in arrays_2 or name.partition(".")[0] not in known:
            continue
        ours, theirs = (found[key].astype(np.float64) for found in (arrays, arrays_2))
        spread = float((theirs - ours).std() if paired else np.hypot(ours.std(), theirs.std()))
        apart = values_2[name] - values[name]
        # Replicates are float32: those of equal scores agree, but those of nearly equal scores differ by rounding.
        spread += 1e-7 * abs(values[name]) if apart else 0.0
        yield Difference(name, values[name], values_2[name], apart - wide * spread, apart + wide * spread, paired)


def _high() -> set[str]:
    """Names of the scores for which a higher value is better. Costs are not among them: costs are compared in seconds
    and multiply-adds, and a lower cost is better."""
    return {figure.name for figure in scores() if figure.better == "high"}


def _alike(arrays: Arrays, arrays_2: Arrays) -> bool:
    return "labels" in arrays and "labels" in arrays_2 and np.array_equal(arrays["labels"], arrays_2["labels"])


def _costs(record: Record, other: Record, confidence: float) -> Iterator[Difference]:
    if not all(found.get(part) for found in (record, other) for part in ("flops", "timing")):
        return  # foreign samples have no cost
    macs, macs_2 = (float(found["flops"]["macs"]) for found in (record, other))
    slack = EXACT * abs(macs)
    yield Difference("macs", macs, macs_2, macs_2 - macs - slack, macs_2 - macs + slack, False)
    timings: list[dict[str, Any]] = [found.get("timing") or {} for found in (record, other)]
    yield from _times({kind: kind for kind in SECOND_CLOCK}, timings[0], timings[1], confidence)
    if any(map(clocks.has_second, timings)):
        yield from _times(SECOND_CLOCK, clocks.eager(timings[0]), clocks.eager(timings[1]), confidence)
    joules = figure_named("joules")
    (one, ends), (two, ends_2) = ((joules.value(found, ""), joules.ends(found, "")) for found in (record, other))
    if one is not None and two is not None and ends and ends_2:  # older records have no interval
        sessions = 0.0 if timings[0].get("session") == timings[1].get("session") else SESSIONS
        yield Difference("joules", one, two, *_apart((one, two), [ends, ends_2], sessions, confidence), False)


def _times(
    figures: Mapping[str, str], one: clocks.Times | None, other: clocks.Times | None, confidence: float
) -> Iterator[Difference]:
    """The differences of the times of one clock.

    figures: ``latency`` and ``throughput`` -> the figures that they are
    """
    if one is None or other is None:
        return
    for kind, figure in figures.items():
        if not one.get(kind) or not other.get(kind):
            continue
        paired = one["session"] == other["session"]
        values = one[kind]["total_s"], other[kind]["total_s"]
        if paired:
            _, low, high = (log(end) for end in ratio(other, one, kind))
        else:
            low, high = _apart(values, [timed[kind]["interval"] for timed in (one, other)], SESSIONS, confidence)
        yield Difference(figure, *values, low, high, paired)


def _apart(
    values: tuple[float, float], ends: Sequence[Sequence[float]], slack: float, confidence: float
) -> tuple[float, float]:
    """An interval of log(second / first) of two values that were measured apart.

    ends: the 95 % interval of each value; slack: by how much the logarithm may be off for no reason.
    """
    wide = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    spread = hypot(*(log(high / low) / (2 * wide) for low, high in ends))  # the standard error
    margin = slack + NormalDist().inv_cdf((1 + confidence) / 2) * spread
    apart = log(values[1] / values[0])
    return apart - margin, apart + margin


@dataclass(frozen=True)
class Moved:
    """What differs between two stores."""

    compared: int  # pairs of records
    figures: list[tuple[str, Difference]]  # (trial's name, difference beyond chance); 95 % joint confidence
    only: list[tuple[str, str]]  # trials that only one store has finished: (trial's name, folder of that store)
    # How the setups of compared records differ, in words, and for how many pairs of records they differ so.
    setups: Mapping[str, int]


def moved(one: Store, other: Store) -> Moved:
    """Compares the trials that both stores have finished. Finds the scores and costs that differ by more than chance.

    The more values are compared, the wider each interval is made (Bonferroni). The confidence of all intervals together
    is 95 %: even if nothing has changed, one comparison of two stores in twenty finds a difference by chance.
    """
    mine, theirs = _finished(one), _finished(other)
    pairs = [
        ((mine[place], one.arrays(mine[place])), (theirs[place], other.arrays(theirs[place])))
        for place in sorted(mine.keys() & theirs.keys())
    ]
    count = sum(len(differences(*pair)) for pair in pairs)
    found = [
        (pair[0][0]["name"], difference)
        for pair in pairs
        for difference in differences(*pair, 1 - (1 - CONFIDENCE) / max(count, 1))
        if difference.moved
    ]
    only = [(place[0], str(one.folder)) for place in sorted(mine.keys() - theirs.keys())]
    only += [(place[0], str(other.folder)) for place in sorted(theirs.keys() - mine.keys())]
    setups = Counter(words for (first, _), (second, _) in pairs for words in differences_of_setup(first, second))
    return Moved(len(pairs), found, only, setups)


def _finished(store: Store) -> dict[tuple[str, int], Record]:
    records = (found for found in store.records() if found["status"] == "done")
    return {(found["name"], found["trial"]["images"]): found for found in records}


def in_words(difference: Difference, one: str, other: str) -> str:
    """A line for a terminal: the name of the score or cost, both values, the interval of the difference, and the better
    record if there is one."""
    verdict = {"one": f"{one} is better", "other": f"{other} is better", "": "undecided"}[difference.better]
    relative = difference.figure in RELATIVE
    low, high = (
        f"{100 * expm1(end):+.2g} %" if relative else f"{end:+.4g}" for end in (difference.low, difference.high)
    )
    how = "paired" if difference.paired else "not paired"
    unit = " (J)" if difference.figure == "joules" else " (s)" if relative else ""
    name = f"{difference.figure}{unit}"
    return f"{name:<22}{difference.one:>12.5g}{difference.other:>12.5g}   {low} to {high} ({how}): {verdict}"
