"""The timing stage: latency, throughput and memory by one stated protocol, methods interleaved round by round.

Every case is run once a round, in an order shuffled anew each round, so that whatever drifts (clock, heat, other load)
hits all alike, and two cases can be compared round by round.
"""

import gc
import os
import random
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import exp, log
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.compilation import MODES, NONE, Decode, Sample, checked, compiled
from harness.conditions import conditions
from harness.energy import joules, used
from harness.errors import ArbenchError, unknown
from harness.heap import no_collection
from harness.inputs import inputs
from harness.intervals import CONFIDENCE, centre_interval, median_interval
from harness.memory import peak_memory
from harness.method import KnobValue, Method
from harness.sampling import Sampling

Case = tuple[str, Method | Callable[[], Method], Mapping[str, KnobValue], Sampling]
"""Name, method (or what loads it: one loader shared by many cases is called once), complete knobs, sampling."""

NOISY = 0.10
"""A row is marked noisy if the 95 % interval of its median is wider than this share of it, or not to be had."""

OVERDRAWN_ROUNDS = 3
"""Rounds after which timing stops whatever the protocol's ``min_rounds``, once twice the budget is spent."""


LOOK = 12
"""Rounds after which it is asked whether cases are settled, and after as many more: asking often would end the rounds
where chance happens to be quiet."""

RATIO = 0.995
"""Confidence of a ratio's interval. More than 95 %, because rounds end by what was measured, other work on the machine
gives heavy tails, and two copies of one method differ a little for where they lie in memory. It costs a fifth of width:
an interval that is settled is still narrow enough to tell 5 % apart."""


@dataclass(frozen=True)
class Protocol:
    """How time is taken; stated in every record.

    Latency is the time of one batch of ``latency_batch`` images, throughput comes from batches of
    ``throughput_batch``. Each case first runs ``warmup`` times unmeasured. Then rounds go on until each case is
    settled: the 95 % interval of its time against the others' of the same round is no wider than ``settled`` of it.
    Where that takes too long they end when the budget is spent (``latency_seconds``, ``throughput_seconds``: an average
    a case, warm-up included; where cases are few ``least_seconds`` for all of them together, and twice that for
    throughput, whose rounds are long), and after ``max_rounds``.
    There are at least ``min_rounds``; on a machine so slow or busy that twice the budget is gone, three rounds are
    enough. Six rounds are the fewest that give a 95 % interval of a median. Sampling and decoding are timed apart, with
    the device synchronised on both sides of each; weights are loaded, and labels and noise drawn, before the clock
    starts. Images differ from round to round and are the same for all cases. ``compile``: a mode of
    harness.compilation, for all cases alike; compiling is done before the clock and the budget start.
    """

    latency_batch: int = 1
    throughput_batch: int = 64
    warmup: int = 1
    min_rounds: int = 6
    max_rounds: int = 300
    latency_seconds: float = 1.2
    throughput_seconds: float = 2.0
    least_seconds: float = 60.0
    settled: float = 0.03
    seed: int = 0
    compile: str = NONE

    def __post_init__(self) -> None:
        if self.compile not in MODES:
            raise unknown("value of compile", self.compile, MODES)
        for name, low in (("latency_batch", 1), ("throughput_batch", 1), ("warmup", 1), ("min_rounds", 1)):
            if getattr(self, name) < low:
                raise ArbenchError(
                    f"timing protocol: {name} = {getattr(self, name)} is too small (valid: {low} or more)"
                )
        if self.max_rounds < self.min_rounds:
            raise ArbenchError(
                f"timing protocol: max_rounds = {self.max_rounds} is below min_rounds = {self.min_rounds}"
            )


@dataclass
class _Run:
    """A case while it is being timed. sample, decode: the method's, compiled if the protocol says so; compiled: what
    came of that; tokens, decoder: seconds, one a round; joules: the same, if counted; failure: why it was given up."""

    name: str
    method: Method | None
    knobs: Mapping[str, KnobValue]
    sampling: Sampling
    tokens: list[float]
    decoder: list[float]
    memory: dict[str, Any]
    sample: Sample | None = None
    decode: Decode | None = None
    compiled: dict[str, float] | None = None
    joules: list[float | None] = field(default_factory=list)
    failure: dict[str, str] | None = None


def interleaved(
    cases: Sequence[Case], protocol: Protocol | None = None, tell: Callable[[str], None] | None = None
) -> list[dict[str, Any]]:
    """The ``timing`` part of the record of each case, in the order of ``cases``; ``tell`` is given lines of progress.

    A case that raises anything but an interrupt is given up, and has the two keys ``failure`` (the reason) and ``log``;
    the others go on. Otherwise the keys are

    - ``latency`` (of a batch of ``latency_batch``): ``total_s``, ``tokens_s``, ``decoder_s`` (medians, seconds),
      ``interval`` of total_s, ``coverage`` (of that interval, 0 to 1: from six rounds on at least 0.95), ``noisy``,
      ``batch``, ``samples`` and ``decoder_samples`` (seconds, one a round)
    - ``throughput``: the same of a batch of ``throughput_batch``, ``images_per_s`` with ``images_per_s_interval``, and
      ``joules_per_image`` (median; see harness.energy), None where the machine does not count them
    - ``compiled``: None, or ``seconds`` that compiling took for both batch sizes, first runs included, and ``alike``,
      the least share of a batch's images that have the tokens they have without it
    - ``peak_memory_mb`` and what belongs to it (see harness.memory), ``noisy``, ``threads``, ``device``,
      ``conditions`` (before, after: see harness.conditions), ``protocol``, ``session`` (the same of cases timed
      together)
    """
    protocol = protocol or Protocol()
    tell = tell or (lambda line: None)
    before = conditions()
    session = f"{time.time():.6f}-{os.getpid()}"
    runs = _load(cases)
    single = max(protocol.latency_seconds * len(runs), protocol.least_seconds)
    batches = max(protocol.throughput_seconds * len(runs), 2 * protocol.least_seconds)
    latency = _phase(runs, protocol, protocol.latency_batch, single, tell)
    throughput = _phase(runs, protocol, protocol.throughput_batch, batches, tell)
    about = {
        "threads": torch.get_num_threads(),
        "conditions": [before, conditions()],
        "protocol": asdict(protocol),
        "session": session,
    }
    return [
        run.failure if run.failure else _record(run, one, many, protocol, about)
        for run, one, many in zip(runs, latency, throughput, strict=True)
    ]


def ratio(one: Mapping[str, Any], other: Mapping[str, Any], kind: str = "latency") -> tuple[float, float, float]:
    """``one``'s time over ``other``'s, paired by round, and its interval, of 95 % at the least: (ratio, low, high).

    one, other: timing parts of two records of the same session; kind: ``latency`` or ``throughput``.
    ArbenchError if they were not timed together, since then drift would pass for a difference.
    """
    if one.get("session") is None or one.get("session") != other.get("session"):
        raise ArbenchError("timing: two records can be compared round by round only if they were timed in one session")
    pairs = zip(one[kind]["samples"], other[kind]["samples"], strict=True)
    middle, low, high = centre_interval([log(first / second) for first, second in pairs], RATIO)
    return exp(middle), exp(low), exp(high)


def _load(cases: Sequence[Case]) -> list[_Run]:
    """Cases ready to run, each distinct loader called once."""
    loaded: dict[int, Method | dict[str, str]] = {}
    runs = []
    for name, source, knobs, sampling in cases:
        if isinstance(source, Method):
            loaded[id(source)] = source
        elif id(source) not in loaded:
            try:
                loaded[id(source)] = source()
            except Exception as error:  # one case's fault must not cost the others their figures
                loaded[id(source)] = _said(error)
        found = loaded[id(source)]
        method, failure = (None, found) if isinstance(found, dict) else (found, None)
        runs.append(_Run(name, method, knobs, sampling, [], [], {}, failure=failure))
    return runs


def _phase(
    runs: Sequence[_Run], protocol: Protocol, batch: int, budget: float, tell: Callable[[str], None]
) -> list[tuple[list[float], list[float]]]:
    """Times every run at one batch size, in ``budget`` seconds; returns (tokens, decoder) seconds, one a round, of
    each."""
    for run in runs:
        _compile(run, protocol, batch)
    began = time.perf_counter()
    for run in runs:
        run.tokens, run.decoder, run.joules = [], [], []
        with peak_memory(_device(run)) as run.memory:
            for _ in range(protocol.warmup):
                _attempt(run, protocol, batch, 0, keep=False)
    tell(f"timing batch {batch}: {len(runs)} cases warm after {time.perf_counter() - began:.0f} s")
    first = time.perf_counter()
    for done in range(protocol.max_rounds):
        now = time.perf_counter()
        per_round = (now - first) / max(done, 1)
        spent = now - began + per_round > budget
        look = done > 0 and done % LOOK == 0
        enough = done >= protocol.min_rounds and (spent or (look and settled(_alive(runs), protocol.settled)))
        overdrawn = done >= OVERDRAWN_ROUNDS and now - began + per_round > 2 * budget
        if enough or overdrawn:
            break
        # A fixed order would let one case always run in the cache and heat left by the same other.
        for run in random.Random(done).sample(list(runs), len(runs)):
            _attempt(run, protocol, batch, done, keep=True)
        tell(f"timing batch {batch}: round {done + 1} done after {time.perf_counter() - began:.0f} s")
    return [(run.tokens, run.decoder) for run in runs]


def _compile(run: _Run, protocol: Protocol, batch: int) -> None:
    """Makes a run's ``sample`` and ``decode`` ready for one batch size, and holds them to what they are to compute."""
    if run.failure or run.method is None:
        return
    run.sample, run.decode = run.method.sample, run.method.decode
    if protocol.compile == NONE:
        return
    try:
        labels, noise = inputs(run.method, protocol.seed, range(batch))
        checked(protocol.compile, labels.device)
        with torch.inference_mode():
            usual = run.method.sample(labels, noise, run.knobs, run.sampling).tokens
        run.sample, run.decode = compiled(run.method, protocol.compile)
        began = time.perf_counter()
        with torch.inference_mode():
            tokens = run.sample(labels, noise, run.knobs, run.sampling).tokens
            run.decode(tokens)
        _synchronise(labels.device)
        seconds, alike = time.perf_counter() - began, (tokens == usual).all(dim=1).double().mean().item()
    except Exception as error:  # one case's fault must not cost the others their figures
        run.failure = _said(error)
        return
    before = run.compiled or {"seconds": 0.0, "alike": 1.0}
    run.compiled = {"seconds": before["seconds"] + seconds, "alike": min(before["alike"], alike)}


def settled(times: Sequence[Sequence[float]], width: float) -> bool:
    """Whether the 95 % interval of each case's time, against the others' median of the same round, is at most ``width``
    wide, relatively; of a single case, its own time's. times: seconds, a row a case, as many rounds of each."""
    rows = np.log(times)
    for place, row in enumerate(rows):
        others = np.delete(rows, place, axis=0)
        _, low, high = centre_interval(row - (np.median(others, axis=0) if len(others) else 0))
        if high - low > width:
            return False
    return True


def _attempt(run: _Run, protocol: Protocol, batch: int, turn: int, keep: bool) -> None:
    """Runs a case once, unless it was given up; keeps its times if they count."""
    if run.failure or run.method is None:
        return
    try:
        labels, noise = inputs(run.method, protocol.seed, range(turn * batch, (turn + 1) * batch))
        before = joules(labels.device)
        tokens, decoder = _time(run, labels, noise)
        spent = used(before, joules(labels.device))
    except Exception as error:  # one case's fault must not cost the others their figures
        run.failure = _said(error)
        return
    if keep:
        run.tokens.append(round(tokens, 9))
        run.decoder.append(round(decoder, 9))
        run.joules.append(spent)


def _time(run: _Run, labels: Tensor, noise: Tensor) -> tuple[float, float]:
    """Seconds of sampling and of decoding one batch, the device synchronised on both sides of each."""
    assert run.sample is not None and run.decode is not None
    gc.collect(0)  # none falls into the measured interval
    with torch.inference_mode(), no_collection():
        _synchronise(labels.device)
        start = time.perf_counter()
        generated = run.sample(labels, noise, run.knobs, run.sampling)
        _synchronise(labels.device)
        middle = time.perf_counter()
        run.decode(generated.tokens)
        _synchronise(labels.device)
        return middle - start, time.perf_counter() - middle


def _alive(runs: Sequence[_Run]) -> list[list[float]]:
    """Seconds of sampling and decoding, a round each, of the runs that were not given up."""
    return [
        [one + other for one, other in zip(run.tokens, run.decoder, strict=True)] for run in runs if not run.failure
    ]


def _record(
    run: _Run,
    latency: tuple[list[float], list[float]],
    throughput: tuple[list[float], list[float]],
    protocol: Protocol,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    one = _summary(*latency, protocol.latency_batch)
    many = _summary(*throughput, protocol.throughput_batch)
    known = [value for value in run.joules if value is not None]
    many["joules_per_image"] = median(known) / many["batch"] if known else None
    many["images_per_s"] = many["batch"] / many["total_s"]
    many["images_per_s_interval"] = [many["batch"] / seconds for seconds in reversed(many["interval"])]
    noisy = one["noisy"] or many["noisy"]
    made = {"latency": one, "throughput": many, "compiled": run.compiled, **run.memory}
    return {**made, "noisy": noisy, "device": str(_device(run)), **about}


def _summary(tokens: Sequence[float], decoder: Sequence[float], batch: int) -> dict[str, Any]:
    total = [one + other for one, other in zip(tokens, decoder, strict=True)]
    low, high, coverage = median_interval(total)
    return {
        "total_s": median(total),
        "tokens_s": median(tokens),
        "decoder_s": median(decoder),
        "interval": [low, high],
        "coverage": coverage,
        "noisy": coverage < CONFIDENCE or high - low > NOISY * median(total),
        "batch": batch,
        "samples": total,
        "decoder_samples": list(decoder),
    }


def _said(error: Exception) -> dict[str, str]:
    reason = str(error) if isinstance(error, ArbenchError) else f"{type(error).__name__}: {error}"
    return {"failure": reason, "log": "".join(traceback.format_exception(error))}


def _device(run: _Run) -> torch.device:
    parameter = None if run.method is None else next(run.method.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _synchronise(device: torch.device) -> None:
    """Waits until the device has done all it was given; the CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
