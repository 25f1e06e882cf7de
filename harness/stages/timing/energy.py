"""Measures the energy of an image: images are generated for seconds, and the device's counter of energy is read.

The counter of a GPU moves every 20 to 100 ms, so energy cannot be taken from a single short generation. Generations are
repeated in runs of at least LEAST_S, without a pause between runs. The energy of all runs is divided by their images.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

import torch
from torch import Tensor

from harness.inputs import inputs
from harness.machine.energy import Counter, counter, used
from harness.method import Method
from harness.stages.timing.intervals import mean_interval
from harness.stages.timing.protocol import Protocol

LEAST_S = 2.0
"""A run lasts at least this many seconds. In 2 s, a counter that moves every 100 ms is wrong by 5 % at most; in three
such runs without a pause, by 2 %."""
RUNS = 3
"""So many runs of a case are made. Their scatter gives the interval."""
BATCHES = 4
"""The runs generate the images of so many batches, again and again."""
BUDGET_S = RUNS * LEAST_S
"""No run of a case begins after this many seconds."""


@dataclass(frozen=True)
class Run:
    """Generations that were repeated without a pause."""

    seconds: float
    joules: float | None  # None if the counter could not be read
    images: int


def per_image(
    method: Method,
    device: torch.device,
    generate: Callable[[Tensor, Tensor], object],
    protocol: Protocol,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Measures the energy of an image of one case, in batches of ``throughput_batch``. The result is that of
    ``figures``.

    If the device has no counter of energy, nothing is generated. If a generation fails, the energy is unknown, and the
    case keeps its times.

    generate: generates images from labels and noise. It returns when the device has finished.
    tell: called with a line of progress, which says the energy, or why it is unknown.
    """
    counts = counter(device)
    if counts is None:
        return figures([])
    batch = protocol.throughput_batch
    try:
        # Drawn before the counter is read, so that the energy of drawing does not count.
        drawn = [inputs(method, protocol.seed, range(n * batch, (n + 1) * batch)) for n in range(BATCHES)]
        runs = repeated(counts, lambda turn: generate(*drawn[turn % BATCHES]), batch, time.perf_counter)
        found = figures(runs, counts.step)
    except Exception as error:  # one case's fault must not cost it, or the others, their times
        tell(f"energy unknown: {type(error).__name__}: {error}")
        return figures([])
    joules = found["joules_per_image"]
    tell("energy unknown: its counter does not move" if joules is None else f"energy: {joules:.3g} J an image")
    return found


def repeated(counter: Counter, generate: Callable[[int], object], batch: int, clock: Callable[[], float]) -> list[Run]:
    """Repeats the generation of a batch, in runs of at least LEAST_S.

    generate: called with 0, 1, 2 and so on.
    batch: images of a batch.
    clock: gives the time in seconds.
    """
    found: list[Run] = []
    made = 0
    before, began = counter.read(), clock()
    start = began
    while len(found) < RUNS and start - began < BUDGET_S:
        first = made
        while clock() - start < LEAST_S:
            generate(made)
            made += 1
        # A reading ends one run and begins the next: what the counter has not counted yet is not lost.
        after, now = counter.read(), clock()
        found.append(Run(now - start, used(before, after, counter.ranges), (made - first) * batch))
        before, start = after, now
    return found


def figures(runs: Sequence[Run], step: float = 0.0) -> dict[str, Any]:
    """The energy of an image, from runs.

    - ``joules_per_image``: joules of all runs, divided by their images. None if no run can be used, and never 0
    - ``joules_per_image_interval``: its 95 % interval; None with fewer than two runs
    - ``joules_per_image_runs``: the joules an image of each run; None if no run can be used

    A run that is shorter than LEAST_S cannot be used, nor can a run in which the counter was not read or did not move.

    runs: one after the other, without a pause.
    step: as in Counter.
    """
    good = [run for run in runs if run.seconds >= LEAST_S and run.joules]
    each = [run.joules / run.images for run in good if run.joules]
    mean = sum(run.joules or 0.0 for run in good) / sum(run.images for run in good) if good else None
    ends = None
    if mean is not None and len(each) > 1:
        # By logarithms, so that the lower end is above 0. At the first and at the last reading, the counter lags by up
        # to a step. Runs of equal length lag alike, so their scatter does not show it.
        _, low, high = mean_interval([log(value) for value in each])
        slack = step / sum(run.seconds for run in good)
        ends = [min(exp(low), mean) * (1 - slack), max(exp(high), mean) * (1 + slack)]
    return {
        "joules_per_image": mean,
        "joules_per_image_interval": ends,
        "joules_per_image_runs": each or None,
    }
