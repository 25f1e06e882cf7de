"""Measures latency, throughput and memory of all cases by one stated protocol. A case is a method with its settings.

Each case of a round runs once, in an order shuffled anew each round. Whatever drifts (clock, heat, other load)
therefore affects all cases alike, and two cases can be compared round by round. The module ``summary`` computes medians
and intervals from the samples.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import count
from statistics import mean
from typing import Any

import numpy as np
import torch

from harness.errors import ArbenchError
from harness.execution.modes import OFF, resolved
from harness.machine import gpu
from harness.machine.conditions import conditions, gpu_state
from harness.machine.cores import cores
from harness.machine.disturbances import by_kind, in_words, quiet_cores
from harness.machine.memory import peak_memory
from harness.machine.rates import rates_of
from harness.stages import CONFIDENCE
from harness.stages.timing.cases import Case, TimedCase, attempt, loaded, prepare, said, taken
from harness.stages.timing.energy import per_image
from harness.stages.timing.intervals import centre_interval
from harness.stages.timing.pace import factors
from harness.stages.timing.protocol import Protocol
from harness.stages.timing.summary import LOOK, TAIL_ROUNDS, noisy, summary

PACED = 1.05
"""The row of a noisy case also states the range of the machine's pace, if the highest pace is more than PACED times the
lowest pace."""

COMPANY = 4
"""In a session of more than FEW cases, at least this many cases take part in each round. The reason is that the pace at
a sample is estimated from samples of other cases, taken right before and after it."""

WIDEST = 300
"""Most characters of the reason why a case has no eager times."""

OVERDRAWN_ROUNDS = 3
"""If twice the time budget is spent, this many rounds are enough, even if the protocol's min_rounds asks for more."""

FEW = 8
"""In a session of at most this many cases, all cases take part in every round until all are settled (see ``settled``).
In a larger session, only the noisy cases take part in further rounds."""

SETTLED, BUDGET, ROUNDS, OVERDRAWN = "settled", "budget", "max_rounds", "overdrawn"
"""Why a case's rounds ended: its interval was narrow enough; the budget was spent; max_rounds were done; or twice the
budget was spent, but fewer than min_rounds rounds were done."""


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
        - ``why``: what disturbed the times, in words; None if they are not noisy and the GPU was not disturbed
        - ``gpu``: the state of the GPU during the rounds (see harness.machine.gpu.during); None without a GPU
        - ``batch``: how many images the batch has
        - ``percentiles`` of the seconds of a batch: ``p50``, ``p90``, ``p99``. The last two are None with fewer than
          ``TAIL_ROUNDS`` rounds
        - ``samples``: for each round, the seconds of sampling and decoding; ``decoder_samples``: of decoding alone
        - ``ended``: why the case's rounds ended
            - ``settled``: the interval of the case's times was narrow enough (see ``Protocol``)
            - ``budget``: the time budget was spent
            - ``max_rounds``: as many rounds were done as the protocol allows
            - ``overdrawn``: twice the time budget was spent, but fewer than ``min_rounds`` rounds were done
        - ``pace``: the machine's pace at each sample; 1 is the session's usual pace. The time that the clock gave is
          the sample multiplied by its pace. With at most ``FEW`` cases, every pace is 1
        - ``disturbances`` of each sample (see harness.machine.disturbances)
    - ``throughput``, of a batch of ``throughput_batch``: the same keys, and in addition
        - ``images_per_s``, ``images_per_s_interval``
        - ``joules_per_image`` and more (see harness.stages.timing.energy); None where the machine counts no energy
    - ``capture``: None if the methods run as they are; otherwise
        - ``mode``: in which the case ran: graph, compile, or off
        - ``why``: why the mode is not the protocol's; None if it is
        - ``seconds``: how long capturing and compiling took for both batch sizes, first runs included
        - ``alike``: share of a batch's images whose tokens are the same in this mode and in mode off. Of the shares for
          the two batch sizes, the lower one is given
    - ``eager``: None, or on CUDA ``latency`` and ``throughput`` of a captured case in mode off, with the same keys
    - ``eager_why``: why a captured case could not be timed in mode off as well; None if it could, or is not captured
    - ``peak_memory_mb``, ``peak_memory_rise_mb``, ``peak_memory_scope``; on CUDA also ``gpu_peak_memory_mb`` and
      ``gpu_peak_memory_rise_mb``, both of mode off, because a replay allocates nothing (see harness.machine.memory)
    - ``noisy``, ``threads``, ``device``, ``protocol``
    - ``wait_policy``: how threads wait for each other, if the environment sets it (OMP_WAIT_POLICY)
    - ``conditions``: the state of the machine before and after the session (see harness.machine.conditions)
    - ``rates``: what the device could do at the start of the session, with as many threads, in the precision and with
      the TF32 of the case (see harness.machine.rates); None if it could not be measured
    - ``session``: the name of the session, the same for all cases that were timed together
    """
    protocol = protocol or Protocol()
    tell = tell or (lambda line: None)
    before = conditions()
    session = f"{time.time():.6f}-{os.getpid()}"
    runs = loaded(cases)
    there = [run.device for run in runs if not run.failure]
    device = next((one for one in there if one.type != "cpu"), torch.device("cpu"))
    before |= gpu_state(device)  # now that this process uses the GPU, other processes can be told from it
    try:
        mode = resolved(protocol.capture, device) if there else OFF
    except ArbenchError as error:  # of the cases alone: what else the run has measured is recorded
        return [run.failure or said(error) for run in runs]
    protocol = replace(protocol, capture=mode)
    with _on_quiet_cores(tell) as threads:
        measured = rates_of((run.kind for run in runs if not run.failure), tell)
        times = _clock(runs, protocol, mode, tell)
        for run, found in zip(runs, times, strict=True):
            if found and run.method is not None:
                found["throughput"] |= per_image(run.name, run.method, run.device, partial(taken, run), protocol, tell)
        memory = [run.memory for run in runs]
        second = _second_clock([run for run in runs if _has_two_clocks(run)], protocol, tell)
    about = {
        "threads": threads,
        "wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "conditions": [before, conditions(device=device)],
        "protocol": asdict(protocol),
        "session": session,
    }
    return [
        run.failure
        or {**found, **kept, "capture": run.capture or None, "device": str(run.device)}
        | second.get(id(run), {"eager": None, "eager_why": None})
        | {"noisy": any(found[kind]["noisy"] for kind in found), "rates": measured.get(run.kind)}
        | about
        for run, found, kept in zip(runs, times, memory, strict=True)
    ]


def _clock(
    runs: Sequence[TimedCase], protocol: Protocol, mode: str, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Times every case at both batch sizes. Returns each case's ``latency`` and ``throughput``; {} for a case that was
    given up.

    mode: in which the methods run
    """
    least = protocol.least_seconds if len(runs) <= FEW else 0.0
    single = max(protocol.latency_seconds * len(runs), least)
    batches = max(protocol.throughput_seconds * len(runs), 2 * least)
    latency = _phase(runs, protocol, (protocol.latency_batch, mode), single, tell)
    throughput = _phase(runs, protocol, (protocol.throughput_batch, mode), batches, tell)
    return [
        {} if run.failure else {"latency": one, "throughput": _throughput(many)}
        for run, one, many in zip(runs, latency, throughput, strict=True)
    ]


def _second_clock(
    runs: Sequence[TimedCase], protocol: Protocol, tell: Callable[[str], None]
) -> dict[int, dict[str, Any]]:
    """Times captured cases in mode off. Returns by the id of each case what its record has of it: ``eager``,
    ``eager_why`` and the memory on the GPU. A case that fails here keeps the times that it has."""
    found = {}
    for run, times in zip(runs, _clock(runs, protocol, OFF, tell), strict=True):
        failure, run.failure = run.failure, None
        found[id(run)] = {"eager": times or None, "eager_why": failure and _short(failure["failure"])}
        gpu_memory = {name: value for name, value in run.memory.items() if name.startswith("gpu_")}
        found[id(run)] |= dict.fromkeys(gpu_memory) if failure else gpu_memory
    return found


def _short(reason: str) -> str:
    """A reason in one line of at most WIDEST characters."""
    return " ".join(reason.split())[:WIDEST]


def _has_two_clocks(run: TimedCase) -> bool:
    """Whether a case is timed in mode off as well: on CUDA, if it was captured."""
    return not run.failure and _on_cuda(run) and run.capture.get("mode", OFF) != OFF


def _on_cuda(run: TimedCase) -> bool:
    return run.device.type == "cuda"


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


def _phase(
    runs: Sequence[TimedCase], protocol: Protocol, how: tuple[int, str], budget: float, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Times every case at one batch size, in ``budget`` seconds. Returns the timing results of each case; {} for a
    case that was given up.

    how: the batch size, and the mode in which the methods run
    """
    if not runs:
        return []
    batch, mode = how
    name = f"batch {batch}" if mode == protocol.capture else f"batch {batch}, not captured"
    for run in runs:
        prepare(run, protocol, batch, mode)
    began = time.perf_counter()
    for run in runs:
        with peak_memory(run.device) as run.memory:
            for _ in range(protocol.warmup):
                attempt(run, protocol, batch, 0, None)
    tell(f"timing {name}: {len(runs)} cases warm after {time.perf_counter() - began:.0f} s")
    turns = count()
    going: Sequence[TimedCase] = runs
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
            attempt(run, protocol, batch, done, next(turns))
        some = f" of {len(going)} unsettled cases" if len(going) < len(runs) else ""
        tell(f"timing {name}: round {done + 1}{some} done after {time.perf_counter() - began:.0f} s")
    _end(going, ROUNDS)
    at_pace = _at_pace(runs)
    return [{} if run.failure else _figures(run, at_pace[place], batch, protocol) for place, run in enumerate(runs)]


def _at_pace(runs: Sequence[TimedCase]) -> list[list[float]]:
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


def _going_on(going: Sequence[TimedCase], runs: Sequence[TimedCase], protocol: Protocol, done: int) -> list[TimedCase]:
    """The cases of ``going`` that take part in the next round. ``going``: the cases whose rounds have not ended yet.

    The rounds of a case end here when it needs no more samples. But as long as other cases need samples, enough cases
    go on to show the pace (see ``COMPANY``). On CUDA, no case is settled before ``TAIL_ROUNDS`` rounds, which its
    percentiles need. The time budget and ``max_rounds`` are not considered here.
    """
    alive = [run for run in going if not run.failure]
    least = max(protocol.min_rounds, TAIL_ROUNDS if any(map(_on_cuda, alive)) else 0)
    if done < least or done % LOOK:
        return alive
    if len(runs) > FEW:
        times = {id(run): _divided(run.total, pace) for run, pace in zip(runs, _at_pace(runs), strict=True)}
        calm = [run for run in alive if not noisy(times[id(run)], protocol.min_rounds)]
        unsettled = len(alive) - len(calm)
        _end(calm[max(0, COMPANY - unsettled) if unsettled else 0 :], SETTLED)
    elif settled([run.total for run in alive], protocol.settled):
        _end(alive, SETTLED)
    return [run for run in alive if not run.ended]


def _end(runs: Sequence[TimedCase], reason: str) -> None:
    for run in runs:
        run.ended = run.ended or reason


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


def _divided(samples: Sequence[float], pace: Sequence[float]) -> list[float]:
    return [round(one / other, 9) for one, other in zip(samples, pace, strict=True)]


def _figures(run: TimedCase, pace: Sequence[float], batch: int, protocol: Protocol) -> dict[str, Any]:
    """The timing results of a case at one batch size, computed from samples that are divided by ``pace``. If the
    results are noisy, or if the GPU was throttled or shared, ``why`` says what disturbed the samples."""
    found = by_kind(run.disturbances)
    made = summary(_divided(run.tokens, pace), _divided(run.decoder, pace), batch, protocol.min_rounds)
    made["pace"] = [round(one, 4) for one in pace]
    state = gpu.during(run.states)
    disturbed = gpu.in_words(state)
    words = [in_words(run.total, found, cores(), torch.get_num_threads(), disturbed)]
    if max(pace, default=1.0) > PACED * min(pace, default=1.0):
        words.append(f"cases beside it took {min(pace):.2f} to {max(pace):.2f} of their usual time")
    if run.ended == OVERDRAWN:
        words.insert(0, f"{len(run.total)} rounds of {protocol.min_rounds}, as twice the time budget was spent")
    elif made["coverage"] < CONFIDENCE:
        words.insert(0, f"{len(run.total)} rounds are too few for an interval")
    why = ", ".join(words) if made["noisy"] else disturbed or None
    return {**made, "ended": run.ended, "disturbances": found, "gpu": state, "why": why}


def _throughput(many: Mapping[str, Any]) -> dict[str, Any]:
    """The timing results of a large batch, with images a second."""
    batch = many["batch"]
    return {
        **many,
        "images_per_s": batch / many["total_s"],
        "images_per_s_interval": [batch / seconds for seconds in reversed(many["interval"])],
    }
