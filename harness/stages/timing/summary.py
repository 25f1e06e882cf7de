"""Timing results, computed from samples: medians and their intervals, the ratio of two cases, and whether times are
noisy and why. Code that only reads records can import this module alone, without torch."""

from collections.abc import Mapping, Sequence
from math import ceil, exp, log
from statistics import median
from typing import Any

from harness.errors import ArbenchError
from harness.stages import CONFIDENCE, clocks
from harness.stages.timing.intervals import centre_interval, median_interval, sequential_interval

NOISY = 0.10
"""A row is marked noisy if the 95 % interval of its median is wider than this share of the median, or if there are too
few samples for such an interval."""

LOOK = 13
"""Every 13 rounds we test whether intervals are narrow enough to stop. Testing after each round would stop at a moment
that is quiet by chance."""

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
TAIL_ROUNDS = 100
"""p90 and p99 take this many samples. One of them then lies beyond p99, and ten beyond p90. With fewer, the slowest
sample would stand for p99. Captured runs are quick, so on CUDA rounds go on until so many are done."""

RATIO = 0.995
"""Confidence of a ratio's interval. It is above 95 % for three reasons. The measured times decide when rounds end.
Other work on the machine gives heavy tails. Two copies of one method differ a little because they lie in different
places in memory. The higher confidence makes the interval a fifth wider. A settled interval is still narrow enough to
tell times 5 % apart."""

FEW_PAIRS, FEW_RATIO = 24, 0.99
"""With fewer than FEW_PAIRS rounds, the interval of a ratio is the interval of a median, with confidence FEW_RATIO.
With so few rounds, a single disturbed round can move Wilcoxon's interval: with 12 rounds, Wilcoxon's interval drops 7
averages of pairs, and one round is part of 12 averages. With 13 rounds, the ends of the median's interval are order
statistics 2 and 12, which one round cannot move. If no round is disturbed, the median's interval is 17 % wider than
Wilcoxon's."""


def interval(samples: Sequence[float]) -> tuple[float, float, float]:
    """An interval for the median time of a case: (low, high, coverage). The coverage is the confidence of this
    interval."""
    return sequential_interval(samples, LOOK)


def noisy(samples: Sequence[float], rounds: int) -> bool:
    """Whether the times of a case are noisy. The times are noisy if there are fewer than ``rounds`` samples, or too few
    samples for a 95 % interval, or if the interval is too wide (see NOISY)."""
    low, high, coverage = interval(samples)
    return len(samples) < rounds or coverage < CONFIDENCE or high - low > NOISY * median(samples)


def summary(tokens: Sequence[float], decoder: Sequence[float], batch: int, rounds: int) -> dict[str, Any]:
    """The timing results of one case at one batch size.

    tokens, decoder: the seconds that the tokens and the decoder took, one value for each round.
    rounds: with fewer rounds than this number, the times count as noisy.
    """
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
        "percentiles": percentiles(total),
        "samples": total,
        "decoder_samples": list(decoder),
    }


def percentiles(samples: Sequence[float]) -> dict[str, float | None]:
    """Percentiles of the samples: a dict with the keys of ``PERCENTILES``. With fewer than TAIL_ROUNDS samples, p90 and
    p99 are None."""
    ordered = sorted(samples)
    return {
        name: ordered[rank(len(ordered), share)] if share <= 0.5 or len(ordered) >= TAIL_ROUNDS else None
        for name, share in PERCENTILES.items()
    }


def rank(size: int, share: float) -> int:
    """The index of a percentile in ``size`` ordered samples: of the first that at least ``share`` of the samples do not
    exceed."""
    return ceil(share * size) - 1


def ratio(one: Mapping[str, Any], other: Mapping[str, Any], kind: str = "latency") -> tuple[float, float, float]:
    """The time of ``one`` divided by the time of ``other``: (ratio, low, high). ``low`` and ``high`` are the ends of an
    interval for the ratio, with a confidence of at least 95 %.

    one, other: the timing parts of two records. Both must come from the same session.
    kind: ``latency`` or ``throughput``.

    The two are compared round by round: sample i of a case was taken in round i. If one case took part in more rounds
    than the other, only the rounds that both took part in are compared. Raises ArbenchError if the two were not timed
    in one session: a drift of the machine's speed would then look like a difference.
    """
    if one.get("session") is None or one.get("session") != other.get("session"):
        raise ArbenchError("timing: two records can be compared round by round only if they were timed in one session")
    pairs = zip(one[kind]["samples"], other[kind]["samples"], strict=False)
    logs = [log(first / second) for first, second in pairs]
    if len(logs) < FEW_PAIRS:
        low, high, _ = median_interval(logs, FEW_RATIO)
        middle = median(logs)  # the estimate that belongs to this interval and lies inside it
    else:
        middle, low, high = centre_interval(logs, RATIO)
    return exp(middle), exp(low), exp(high)


def why_disturbed(timing: Mapping[str, Any]) -> list[str]:
    """How the GPU was throttled or shared while a record's times were taken. Each batch size whose times are not noisy
    has one line; for noisy times, ``why_noisy`` says it as well."""
    return [
        f"batch {one.get('batch')}: {one.get('why') or 'the cause was not recorded'}"
        for one in clocks.parts(timing)
        if (one.get("gpu") or {}).get("disturbed") and not one.get("noisy")
    ]


def why_noisy(timing: Mapping[str, Any]) -> list[str]:
    """Why a record's times are noisy. Each batch size with noisy times has one line, such as ``batch 64: 4 % steal``.
    Older records do not hold the cause. Their lines say that the cause was not recorded."""
    return [
        f"batch {one.get('batch')}: {one.get('why') or 'the cause was not recorded'}"
        for one in clocks.parts(timing)
        if one.get("noisy")
    ]
