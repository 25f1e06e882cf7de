"""The cases of a timing session: a method with its settings, and the samples that are taken of it."""

import gc
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.errors import ArbenchError
from harness.execution.modes import OFF
from harness.execution.running import Running, compared, refused, running
from harness.inputs import inputs
from harness.machine import gpu
from harness.machine.arithmetic import arithmetic
from harness.machine.devices import synchronise
from harness.machine.disturbances import between, counters
from harness.machine.garbage import no_collection
from harness.machine.rates import Kind
from harness.method import KnobValue, Method
from harness.sampling import Sampling
from harness.stages.timing.protocol import Protocol

Case = tuple[str, Method | Callable[[], Method], Mapping[str, KnobValue], Sampling]
"""Name; method, or a function that loads the method; complete knobs; sampling. A loader that several cases share is
called once."""


@dataclass
class TimedCase:
    """A case while it is being timed."""

    name: str
    method: Method | None
    knobs: Mapping[str, KnobValue]
    sampling: Sampling
    tokens: list[float] = field(default_factory=list)  # seconds, one a round
    decoder: list[float] = field(default_factory=list)  # seconds, one a round
    turns: list[int] = field(default_factory=list)  # position of each sample among the samples of all cases, by time
    states: list[gpu.Reading | None] = field(default_factory=list)  # of the GPU, one a round; None without a GPU
    disturbances: list[dict[str, float | None]] = field(default_factory=list)  # one a round
    ended: str = ""  # why its rounds ended
    memory: dict[str, Any] = field(default_factory=dict)
    running: Running | None = None  # how the method runs in this phase
    capture: dict[str, Any] = field(default_factory=dict)  # ``capture`` of the record (see ``interleaved``)
    failure: dict[str, str] | None = None  # why the case was given up

    @property
    def total(self) -> list[float]:
        """For each round, the seconds of sampling and decoding together, not divided by the pace."""
        return [one + other for one, other in zip(self.tokens, self.decoder, strict=True)]

    @property
    def device(self) -> torch.device:
        """The device of the method's weights."""
        parameter = None if self.method is None else next(self.method.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    @property
    def kind(self) -> Kind:
        """Where and how the case computes."""
        parameter = None if self.method is None else next(self.method.network.parameters(), None)
        tf32 = "off" if self.method is None else self.method.tf32
        return self.device, torch.float32 if parameter is None else parameter.dtype, tf32


def loaded(cases: Sequence[Case]) -> list[TimedCase]:
    """The cases with their methods. A loader that several cases share is called once. A case whose method cannot be
    loaded is given up."""
    found: dict[int, Method | dict[str, str]] = {}
    made = []
    for name, source, knobs, sampling in cases:
        if isinstance(source, Method):
            found[id(source)] = source
        elif id(source) not in found:
            try:
                found[id(source)] = source()
            except Exception as error:  # one case's fault must not cost the others their results
                found[id(source)] = said(error)
        one = found[id(source)]
        method, failure = (None, one) if isinstance(one, dict) else (one, None)
        made.append(TimedCase(name, method, knobs, sampling, failure=failure))
    return made


def prepare(case: TimedCase, protocol: Protocol, batch: int, mode: str) -> None:
    """Get a case ready for a phase: no samples yet, and the method runs in ``mode`` for batches of ``batch`` images.

    mode: off, graph or compile. In the last two, tokens and images of a batch are compared with those of mode ``off``.
    A captured case that gives others is given up (see ``compared``).
    """
    case.tokens, case.decoder, case.turns, case.states, case.disturbances, case.ended = [], [], [], [], [], ""
    case.running = None  # what the phase before captured is freed first
    if case.failure or case.method is None:
        return
    try:
        other = inputs(case.method, protocol.seed, range(batch + 1, 2 * batch + 1))
        plain = running(case.method, case.knobs, case.sampling, other, OFF)
        if mode == OFF:
            case.running = plain
            return
        with torch.inference_mode(), arithmetic(case.method.tf32):
            plain.sample(*other)
            synchronise(case.device)
            began = time.perf_counter()
            made = running(case.method, case.knobs, case.sampling, other, mode)
            made.decode(made.sample(*other).tokens)
            synchronise(case.device)
            seconds = time.perf_counter() - began
            alike, wrong = compared(made, plain, *inputs(case.method, protocol.seed, range(batch)))
        if wrong:
            raise refused(case.name, made, wrong)
    except Exception as error:  # one case's fault must not cost the others their results
        case.failure = said(error)
        return
    before = case.capture or {"seconds": 0.0, "alike": 1.0}
    case.running = made
    case.capture = {
        "mode": made.capture,
        "why": made.why,
        "seconds": before["seconds"] + seconds,
        "alike": min(before["alike"], alike),
    }


def attempt(case: TimedCase, protocol: Protocol, batch: int, done: int, turn: int | None) -> None:
    """Runs a case once, after ``done`` rounds, unless the case was given up.

    turn: the position of the sample in the order of all samples; None for a warm-up, whose times are not kept.
    """
    if case.failure or case.method is None:
        return
    try:
        labels, noise = inputs(case.method, protocol.seed, range(done * batch, (done + 1) * batch))
        counted = counters()
        tokens, decoder = taken(case, labels, noise)
        disturbance, state = between(counted, counters()), gpu.reading(labels.device)
    except Exception as error:  # one case's fault must not cost the others their results
        case.failure = said(error)
        return
    if turn is not None:
        case.tokens.append(round(tokens, 9))
        case.decoder.append(round(decoder, 9))
        case.turns.append(turn)
        case.states.append(state)
        case.disturbances.append(disturbance)


def taken(case: TimedCase, labels: Tensor, noise: Tensor) -> tuple[float, float]:
    """Seconds of sampling and of decoding one batch; the device is synchronised before and after each."""
    assert case.method is not None
    assert case.running is not None
    gc.collect(0)  # so that no collection falls into the measured interval
    with torch.inference_mode(), no_collection(), arithmetic(case.method.tf32):
        synchronise(labels.device)
        start = time.perf_counter()
        generated = case.running.sample(labels, noise)
        synchronise(labels.device)
        middle = time.perf_counter()
        case.running.decode(generated.tokens)
        synchronise(labels.device)
        return middle - start, time.perf_counter() - middle


def said(error: Exception) -> dict[str, str]:
    """The result of a case that is given up: the reason, and the log."""
    reason = str(error) if isinstance(error, ArbenchError) else f"{type(error).__name__}: {error}"
    return {"failure": reason, "log": "".join(traceback.format_exception(error))}
