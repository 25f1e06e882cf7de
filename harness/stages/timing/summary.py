"""Figures of time, made from samples: medians with their intervals, whether they are noisy and why, and the ratio of
two cases. Reading records needs no more than this, and no torch."""

from collections.abc import Mapping, Sequence
from math import exp, log
from statistics import median
from typing import Any

from harness.errors import ArbenchError
from harness.stages import CONFIDENCE
from harness.stages.timing.intervals import centre_interval, median_interval, sequential_interval

NOISY = 0.10
"""A row is marked noisy if the 95 % interval of its median is wider than this share of it, or not to be had."""

LOOK = 13
"""Every 13 rounds it is tested whether intervals are narrow enough to stop. Testing after each round would stop at a
moment that is quiet by chance."""

RATIO = 0.995
"""Confidence of a ratio's interval. More than 95 %, because rounds end by what was measured, other work on the machine
gives heavy tails, and two copies of one method differ a little for where they lie in memory. It costs a fifth of width:
an interval that is settled is still narrow enough to tell 5 % apart."""

FEW_PAIRS, FEW_RATIO = 24, 0.99
"""With fewer rounds than this, Wilcoxon's interval of a ratio follows a single disturbed round: of 12 rounds it drops 7
averages of pairs, and one round is part of 12. Then the interval is that of a median, with this confidence: of 13
rounds the order statistics 2 and 12, which one round cannot move. It is 17 % wider where nothing is disturbed."""


def interval(samples: Sequence[float]) -> tuple[float, float, float]:
    """Interval of the median of a case's samples, and its coverage: (low, high, coverage)."""
    return sequential_interval(samples, LOOK)


def noisy(samples: Sequence[float], rounds: int) -> bool:
    """Whether a row with these samples is marked noisy: too few (under ``rounds``), or too wide an interval."""
    low, high, coverage = interval(samples)
    return len(samples) < rounds or coverage < CONFIDENCE or high - low > NOISY * median(samples)


def summary(tokens: Sequence[float], decoder: Sequence[float], batch: int, rounds: int) -> dict[str, Any]:
    """The figures of one case at one batch size. tokens, decoder: seconds, one a round; rounds: how many there should
    be at least."""
    total = [one + other for one, other in zip(tokens, decoder, strict=True)]
    low, high, coverage = interval(total)
    return {
        "total_s": median(total),
        "tokens_s": median(tokens),
        "decoder_s": median(decoder),
        "interval": [low, high],
        "coverage": coverage,
        "noisy": noisy(total, rounds),
        "batch": batch,
        "samples": total,
        "decoder_samples": list(decoder),
    }


def ratio(one: Mapping[str, Any], other: Mapping[str, Any], kind: str = "latency") -> tuple[float, float, float]:
    """``one``'s time over ``other``'s, paired by round, and its interval, of 95 % at the least: (ratio, low, high).

    one, other: timing parts of two records of the same session; kind: ``latency`` or ``throughput``. Sample i of a case
    is that of round i; a case that went on longer is compared by the rounds that both took part in.
    ArbenchError if they were not timed together, since then drift would pass for a difference.
    """
    if one.get("session") is None or one.get("session") != other.get("session"):
        raise ArbenchError("timing: two records can be compared round by round only if they were timed in one session")
    pairs = zip(one[kind]["samples"], other[kind]["samples"], strict=False)
    logs = [log(first / second) for first, second in pairs]
    if len(logs) < FEW_PAIRS:
        low, high, _ = median_interval(logs, FEW_RATIO)
        middle = median(logs)  # the estimate that belongs to the interval, so that it lies inside
    else:
        middle, low, high = centre_interval(logs, RATIO)
    return exp(middle), exp(low), exp(high)


def why_noisy(timing: Mapping[str, Any]) -> list[str]:
    """What made a record's times noisy, a line each for batch 1 and 64, as in ``batch 64: 4 % steal``; none if they are
    not. Records from before this was counted say so."""
    parts = [timing[kind] for kind in ("latency", "throughput") if isinstance(timing.get(kind), Mapping)]
    return [
        f"batch {one.get('batch')}: {one.get('why') or 'the cause was not recorded'}"
        for one in parts
        if one.get("noisy")
    ]
