"""Measures latency, throughput and memory of all cases by one stated protocol. A case is a method with its settings.

Each case of a round runs once, in an order shuffled anew each round. Whatever drifts (clock, heat, other load)
therefore affects all cases alike, and two cases can be compared round by round. The module ``summary`` computes medians
and intervals from the samples.
"""

import gc
import os
import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.errors import ArbenchError
from harness.inputs import inputs
from harness.machine.conditions import conditions
from harness.machine.cores import cores
from harness.machine.disturbances import between, by_kind, counters, in_words, quiet_cores
from harness.machine.energy import joules, used
from harness.machine.garbage import no_collection
from harness.machine.memory import peak_memory
from harness.method import KnobValue, Method
from harness.sampling import Sampling
from harness.stages import CONFIDENCE
from harness.stages.timing.compilation import NONE, Decode, Sample, checked, compiled
from harness.stages.timing.intervals import centre_interval
from harness.stages.timing.pace import factors
from harness.stages.timing.protocol import Protocol
from harness.stages.timing.summary import LOOK, noisy, summary

Case = tuple[str, Method | Callable[[], Method], Mapping[str, KnobValue], Sampling]
"""Name; method, or a function that loads the method; complete knobs; sampling. A loader that several cases share is
called once."""

PACED = 1.05
"""The row of a noisy case also states the range of the machine's pace, if the highest pace is more than PACED times the
lowest pace."""

COMPANY = 4
"""In a session of more than FEW cases, at least this many cases take part in each round. The reason is that the pace at
a sample is estimated from samples of other cases, taken right before and after it."""

OVERDRAWN_ROUNDS = 3
"""If twice the time budget is spent, this many rounds are enough, even if the protocol's min_rounds asks for more."""

FEW = 8
"""In a session of at most this many cases, all cases take part in every round until all are settled (see ``settled``).
In a larger session, only the noisy cases take part in further rounds."""

SETTLED, BUDGET, ROUNDS, OVERDRAWN = "settled", "budget", "max_rounds", "overdrawn"
"""Why a case's rounds ended: its interval was narrow enough; the budget was spent; max_rounds were done; or twice the
budget was spent, but fewer than min_rounds rounds were done."""


@dataclass
class _Run:
    """A case while it is being timed."""

    name: str
    method: Method | None
    knobs: Mapping[str, KnobValue]
    sampling: Sampling
    tokens: list[float] = field(default_factory=list)  # seconds, one a round
    decoder: list[float] = field(default_factory=list)  # seconds, one a round
    turns: list[int] = field(default_factory=list)  # position of each sample among the samples of all cases, by time
    joules: list[float | None] = field(default_factory=list)  # one a round; None where the machine does not count them
    disturbances: list[dict[str, float | None]] = field(default_factory=list)  # one a round
    ended: str = ""  # why its rounds ended
    memory: dict[str, Any] = field(default_factory=dict)
    sample: Sample | None = None  # the method's ``sample``, compiled if the protocol says so
    decode: Decode | None = None  # the method's ``decode``, compiled if the protocol says so
    compiled: dict[str, float] | None = None  # ``seconds`` that compiling took, and ``alike`` (see ``interleaved``)
    failure: dict[str, str] | None = None  # why the case was given up

    @property
    def total(self) -> list[float]:
        """For each round, the seconds of sampling and decoding together, not divided by the pace."""
        return [one + other for one, other in zip(self.tokens, self.decoder, strict=True)]


def interleaved(
    cases: Sequence[Case], protocol: Protocol | None = None, tell: Callable[[str], None] | None = None
) -> list[dict[str, Any]]:
    """Times all cases. Returns the ``timing`` part of each case's record, in the order of ``cases``.

    tell: called with lines of progress.

    If a case raises an error, it is given up, and the other cases go on. An interrupt ends the session. The result of a
    case that was given up has two keys: ``failure`` (the reason) and ``log``. The result of any other case has these
    keys:

    - ``latency``, of a batch of ``latency_batch``:
        - ``total_s``, ``tokens_s``, ``decoder_s``: medians, seconds
        - ``interval``: the interval of ``total_s``
        - ``coverage``: the confidence of ``interval``, from 0 to 1 (with six rounds or more, at least 0.95)
        - ``noisy``: whether the times are noisy
        - ``why``: what disturbed the times, in words; None if the times are not noisy
        - ``batch``: how many images the batch has
        - ``samples``: for each round, the seconds of sampling and decoding; ``decoder_samples``: of decoding alone
        - ``ended``: why the case's rounds ended
            - ``settled``: the interval of the case's times was narrow enough (see ``Protocol``)
            - ``budget``: the time budget was spent
            - ``max_rounds``: as many rounds were done as the protocol allows
            - ``overdrawn``: twice the time budget was spent, but fewer than ``min_rounds`` rounds were done
        - ``pace``: the machine's pace at each sample; 1 is the session's usual pace. The time that the clock gave is
          the sample multiplied by its pace. With at most ``FEW`` cases, every pace is 1
        - ``disturbances`` of each sample (see harness.machine.disturbances)
    - ``throughput``, of a batch of ``throughput_batch``: the same keys and three more:
        - ``images_per_s``, ``images_per_s_interval``
        - ``joules_per_image``: median (see harness.machine.energy); None where the machine does not count joules
    - ``compiled``: None if nothing is compiled; otherwise
        - ``seconds``: how long compiling took for both batch sizes, first runs included
        - ``alike``: share of a batch's images whose tokens are the same with and without compiling. Of the shares for
          the two batch sizes, the lower one is given
    - ``peak_memory_mb``, ``peak_memory_rise_mb``, ``peak_memory_scope``; on CUDA also ``gpu_peak_memory_mb`` (see
      harness.machine.memory)
    - ``noisy``, ``threads``, ``device``, ``protocol``
    - ``wait_policy``: how threads wait for each other, if the environment sets it (OMP_WAIT_POLICY)
    - ``conditions``: the state of the machine before and after the session (see harness.machine.conditions)
    - ``session``: the name of the session, the same for all cases that were timed together
    """
    protocol = protocol or Protocol()
    tell = tell or (lambda line: None)
    before = conditions()
    session = f"{time.time():.6f}-{os.getpid()}"
    runs = _load(cases)
    least = protocol.least_seconds if len(runs) <= FEW else 0.0
    single = max(protocol.latency_seconds * len(runs), least)
    batches = max(protocol.throughput_seconds * len(runs), 2 * least)
    with _on_quiet_cores(tell) as threads:
        latency = _phase(runs, protocol, protocol.latency_batch, single, tell)
        throughput = _phase(runs, protocol, protocol.throughput_batch, batches, tell)
    about = {
        "threads": threads,
        "wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "conditions": [before, conditions()],
        "protocol": asdict(protocol),
        "session": session,
    }
    return [
        run.failure if run.failure else _record(run, one, many, about)
        for run, one, many in zip(runs, latency, throughput, strict=True)
    ]


@contextmanager
def _on_quiet_cores(tell: Callable[[str], None]) -> Iterator[int]:
    """Limits the number of threads to the number of cores that no other program keeps busy. Yields the number of
    threads."""
    # Threads wait for each other several hundred times an image, so a thread without a core holds up the others: on two
    # cores with three other tasks, an image of var took 22 to 299 ms with two threads.
    usual = torch.get_num_threads()
    threads = min(usual, quiet_cores()) if usual > 1 else usual
    if threads < usual:
        tell(f"timing with {threads} of {usual} threads: other processes keep {usual - threads} of the cores busy")
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(usual)


def _load(cases: Sequence[Case]) -> list[_Run]:
    """Makes a ``_Run`` for each case. A loader that several cases share is called once."""
    loaded: dict[int, Method | dict[str, str]] = {}
    runs = []
    for name, source, knobs, sampling in cases:
        if isinstance(source, Method):
            loaded[id(source)] = source
        elif id(source) not in loaded:
            try:
                loaded[id(source)] = source()
            except Exception as error:  # one case's fault must not cost the others their results
                loaded[id(source)] = _said(error)
        found = loaded[id(source)]
        method, failure = (None, found) if isinstance(found, dict) else (found, None)
        runs.append(_Run(name, method, knobs, sampling, failure=failure))
    return runs


def _phase(
    runs: Sequence[_Run], protocol: Protocol, batch: int, budget: float, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Times every case at one batch size, in ``budget`` seconds. Returns the timing results of each case; {} for a
    case that was given up."""
    for run in runs:
        _compile(run, protocol, batch)
    began = time.perf_counter()
    for run in runs:
        run.tokens, run.decoder, run.turns, run.joules, run.disturbances, run.ended = [], [], [], [], [], ""
        with peak_memory(_device(run)) as run.memory:
            for _ in range(protocol.warmup):
                _attempt(run, protocol, batch, 0, None)
    tell(f"timing batch {batch}: {len(runs)} cases warm after {time.perf_counter() - began:.0f} s")
    turns = count()
    going: Sequence[_Run] = runs
    for done in range(protocol.max_rounds):
        going = _going_on(going, runs, protocol, done)
        spent = time.perf_counter() - began + sum(mean(run.total) for run in going if run.total)
        if done >= protocol.min_rounds and spent > budget:
            _end(going, BUDGET)
        elif done >= OVERDRAWN_ROUNDS and spent > 2 * budget:
            _end(going, OVERDRAWN)
        going = [run for run in going if not run.ended]
        if not going:
            break
        # In a fixed order, a case would always run with the cache and the heat that the same other case left.
        for run in random.Random(done).sample(list(going), len(going)):
            _attempt(run, protocol, batch, done, next(turns))
        some = f" of {len(going)} unsettled cases" if len(going) < len(runs) else ""
        tell(f"timing batch {batch}: round {done + 1}{some} done after {time.perf_counter() - began:.0f} s")
    _end(going, ROUNDS)
    at_pace = _at_pace(runs)
    return [{} if run.failure else _figures(run, at_pace[place], batch, protocol) for place, run in enumerate(runs)]


def _at_pace(runs: Sequence[_Run]) -> list[list[float]]:
    """For each case, the pace at each sample; 1 is the session's usual pace. Callers divide by the pace.

    With at most ``FEW`` cases, every pace is 1. In such a session, all cases take part in every round, and ``settled``
    compares the cases round by round. This comparison already cancels the pace.
    """
    samples = sorted(
        (turn, case, seconds)
        for case, run in enumerate(runs)
        for turn, seconds in zip(run.turns, run.total, strict=True)
    )
    few = len(runs) <= FEW
    paces = [1.0] * len(samples) if few else factors([case for _, case, _ in samples], [s for _, _, s in samples])
    found: list[list[float]] = [[] for _ in runs]
    for (_, case, _), pace in zip(samples, paces, strict=True):
        found[case].append(pace)
    return found


def _going_on(going: Sequence[_Run], runs: Sequence[_Run], protocol: Protocol, done: int) -> list[_Run]:
    """The cases of ``going`` that take part in the next round. ``going``: the cases whose rounds have not ended yet.

    The rounds of a case end here when it needs no more samples. But as long as other cases need samples, enough cases
    go on to show the pace (see ``COMPANY``). The time budget and ``max_rounds`` are not considered here.
    """
    alive = [run for run in going if not run.failure]
    if not done or done < protocol.min_rounds or done % LOOK:
        return alive
    if len(runs) > FEW:
        times = {id(run): _divided(run.total, pace) for run, pace in zip(runs, _at_pace(runs), strict=True)}
        calm = [run for run in alive if not noisy(times[id(run)], protocol.min_rounds)]
        unsettled = len(alive) - len(calm)
        _end(calm[max(0, COMPANY - unsettled) if unsettled else 0 :], SETTLED)
    elif settled([run.total for run in alive], protocol.settled):
        _end(alive, SETTLED)
    return [run for run in alive if not run.ended]


def _end(runs: Sequence[_Run], reason: str) -> None:
    for run in runs:
        run.ended = run.ended or reason


def _compile(run: _Run, protocol: Protocol, batch: int) -> None:
    """Sets ``sample`` and ``decode`` of a case for one batch size. If the protocol asks for compiling, both are
    compiled, and the tokens with and without compiling are compared."""
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
    except Exception as error:  # one case's fault must not cost the others their results
        run.failure = _said(error)
        return
    before = run.compiled or {"seconds": 0.0, "alike": 1.0}
    run.compiled = {"seconds": before["seconds"] + seconds, "alike": min(before["alike"], alike)}


def settled(times: Sequence[Sequence[float]], width: float) -> bool:
    """Whether every case is settled. A case is settled if the 95 % interval of its relative time is at most ``width``
    wide; 0.03 means 3 %.

    The relative time of a case is its time divided by the median time of the other cases in the same round. If there is
    only one case, its time is taken as it is.

    times: seconds, one row per case, all with the same number of rounds.
    """
    rows = np.log(times)
    for place, row in enumerate(rows):
        others = np.delete(rows, place, axis=0)
        _, low, high = centre_interval(row - (np.median(others, axis=0) if len(others) else 0))
        if high - low > width:
            return False
    return True


def _attempt(run: _Run, protocol: Protocol, batch: int, done: int, turn: int | None) -> None:
    """Runs a case once, after ``done`` rounds, unless the case was given up.

    turn: the position of the sample in the order of all samples; None for a warm-up, whose times are not kept.
    """
    if run.failure or run.method is None:
        return
    try:
        labels, noise = inputs(run.method, protocol.seed, range(done * batch, (done + 1) * batch))
        before, counted = joules(labels.device), counters()
        tokens, decoder = _time(run, labels, noise)
        disturbance, spent = between(counted, counters()), used(before, joules(labels.device))
    except Exception as error:  # one case's fault must not cost the others their results
        run.failure = _said(error)
        return
    if turn is not None:
        run.tokens.append(round(tokens, 9))
        run.decoder.append(round(decoder, 9))
        run.turns.append(turn)
        run.joules.append(spent)
        run.disturbances.append(disturbance)


def _time(run: _Run, labels: Tensor, noise: Tensor) -> tuple[float, float]:
    """Seconds of sampling and of decoding one batch; the device is synchronised before and after each."""
    assert run.sample is not None and run.decode is not None
    gc.collect(0)  # so that no collection falls into the measured interval
    with torch.inference_mode(), no_collection():
        _synchronise(labels.device)
        start = time.perf_counter()
        generated = run.sample(labels, noise, run.knobs, run.sampling)
        _synchronise(labels.device)
        middle = time.perf_counter()
        run.decode(generated.tokens)
        _synchronise(labels.device)
        return middle - start, time.perf_counter() - middle


def _divided(samples: Sequence[float], pace: Sequence[float]) -> list[float]:
    return [round(one / other, 9) for one, other in zip(samples, pace, strict=True)]


def _figures(run: _Run, pace: Sequence[float], batch: int, protocol: Protocol) -> dict[str, Any]:
    """The timing results of a case at one batch size, computed from samples that are divided by ``pace``. If the
    results are noisy, ``why`` gives the causes."""
    found = by_kind(run.disturbances)
    made = summary(_divided(run.tokens, pace), _divided(run.decoder, pace), batch, protocol.min_rounds)
    made["pace"] = [round(one, 4) for one in pace]
    words = [in_words(run.total, found, cores(), torch.get_num_threads())]
    if max(pace, default=1.0) > PACED * min(pace, default=1.0):
        words.append(f"cases beside it took {min(pace):.2f} to {max(pace):.2f} of their usual time")
    if run.ended == OVERDRAWN:
        words.insert(0, f"{len(run.total)} rounds of {protocol.min_rounds}, as twice the time budget was spent")
    elif made["coverage"] < CONFIDENCE:
        words.insert(0, f"{len(run.total)} rounds are too few for an interval")
    return {**made, "ended": run.ended, "disturbances": found, "why": ", ".join(words) if made["noisy"] else None}


def _record(run: _Run, one: Mapping[str, Any], many: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    known = [value for value in run.joules if value is not None]
    batch = many["batch"]
    throughput = {
        **many,
        "joules_per_image": median(known) / batch if known else None,
        "images_per_s": batch / many["total_s"],
        "images_per_s_interval": [batch / seconds for seconds in reversed(many["interval"])],
    }
    made = {"latency": one, "throughput": throughput, "compiled": run.compiled, **run.memory}
    return {**made, "noisy": one["noisy"] or many["noisy"], "device": str(_device(run)), **about}


def _said(error: Exception) -> dict[str, str]:
    reason = str(error) if isinstance(error, ArbenchError) else f"{type(error).__name__}: {error}"
    return {"failure": reason, "log": "".join(traceback.format_exception(error))}


def _device(run: _Run) -> torch.device:
    parameter = None if run.method is None else next(run.method.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _synchronise(device: torch.device) -> None:
    """Waits until the device has finished its work. On a CPU there is nothing to wait for."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
