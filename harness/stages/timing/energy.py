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

from harness.errors import one_line
from harness.inputs import inputs
from harness.machine import gpu
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
LONGEST_WHY = 300
"""So many characters of an error are recorded."""


Readings = list[gpu.Reading | None]


@dataclass(frozen=True)
class Run:
    """Generations that were repeated without a pause."""

    seconds: float
    joules: float | None  # None if the counter could not be read
    images: int


def per_image(
    name: str,
    method: Method,
    device: torch.device,
    generate: Callable[[Tensor, Tensor], object],
    protocol: Protocol,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Measures the energy of an image of one case, in batches of ``throughput_batch``. The result is that of
    ``figures``, and in addition:

    - ``joules_per_image_gpu``: the state of the GPU during the runs (see harness.machine.gpu.during); None without a
      GPU
    - ``joules_per_image_why``: why the energy is unknown, or how the GPU was throttled or shared during the runs; None
      if neither is the case, or if the device has no counter of energy

    If the device has no counter of energy, or if the protocol's ``energy_seconds`` is 0, nothing is generated. If a
    generation fails, the energy is unknown, and the case keeps its times.

    name: of the case, for lines of progress.
    generate: generates images from labels and noise. It returns when the device has finished.
    tell: called with a line of progress, which says the energy, or why it is unknown.
    """
    counts = counter(device)
    if counts is None or protocol.energy_seconds == 0:
        return _told([], [], None)
    batch = protocol.throughput_batch
    states: Readings = []
    watch = time.perf_counter, lambda: states.append(gpu.reading(device))
    try:
        # Drawn before the counter is read, so that the energy of drawing does not count.
        drawn = [inputs(method, protocol.seed, range(n * batch, (n + 1) * batch)) for n in range(BATCHES)]
        runs = repeated(counts, lambda turn: generate(*drawn[turn % BATCHES]), batch, protocol.energy_seconds, *watch)
        found = _told(runs, states, "its counter does not move", counts.step)
    except Exception as error:  # one case's fault must not cost it, or the others, their times
        found = _told([], states, one_line(f"{type(error).__name__}: {error}")[:LONGEST_WHY])
    joules, why = found["joules_per_image"], found["joules_per_image_why"]
    tell(f"energy of {name}: " + (f"unknown ({why})" if joules is None else f"{joules:.3g} J an image"))
    return found


def _told(runs: Sequence[Run], states: Readings, unknown: str | None, step: float = 0.0) -> dict[str, Any]:
    """The result of ``per_image``. unknown: why the energy is unknown, if no run can be used."""
    found, state = figures(runs, step), gpu.during(states)
    why = unknown if found["joules_per_image"] is None else gpu.in_words(state) or None
    return {**found, "joules_per_image_gpu": state, "joules_per_image_why": why}


def repeated(
    counter: Counter,
    generate: Callable[[int], object],
    batch: int,
    budget: float,
    clock: Callable[[], float],
    look: Callable[[], object],
) -> list[Run]:
    """Repeats the generation of a batch, in runs of at least LEAST_S.

    generate: called with 0, 1, 2 and so on.
    batch: images of a batch.
    budget: no run begins after so many seconds.
    clock: gives the time in seconds.
    look: called before the first run and at the end of each run, right after the work.
    """
    found: list[Run] = []
    made = 0
    look()
    before, began = counter.read(), clock()
    start = began
    while len(found) < RUNS and start - began < budget:
        first = made
        while clock() - start < LEAST_S:
            generate(made)
            made += 1
        look()
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
