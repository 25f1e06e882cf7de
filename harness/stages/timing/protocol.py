"""The settings by which time is measured. A sweep file gives these settings in its ``[timing]`` table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from harness.errors import ArbenchError, shown, unknown
from harness.execution.modes import AUTO, CAPTURES, resolved
from harness.numbers import as_number, is_number

LARGEST = 10**9
"""Largest value of a number in the timing protocol."""


def protocol(timing: Mapping[str, Any], source: str) -> "Protocol":
    """The timing protocol, from a sweep's ``[timing]`` table. If a setting is unknown or wrong, raises an ArbenchError
    that names the setting."""
    default = asdict(Protocol())
    given: dict[str, Any] = {}
    if "compile" in timing:
        raise ArbenchError(f"{source}: [timing]: key 'compile' is now 'capture' (valid: {', '.join(CAPTURES)})")
    for name, value in timing.items():
        if name not in default:
            raise ArbenchError(f"{source}: [timing]: {unknown('key', name, default)}")
        kind = type(default[name])
        if kind is str:
            right, words = isinstance(value, str), "a string"
        else:
            right = is_number(value) and 0 <= value <= LARGEST and not (kind is int and isinstance(value, float))
            words = f"a {'whole ' if kind is int else ''}number from 0 to {LARGEST}"
        if not right:
            raise ArbenchError(f"{source}: [timing]: key {name!r} must be {words}, got {shown(value)}")
        given[name] = value if kind is str else as_number(value, kind is int)
    try:
        return Protocol(**given)
    except ArbenchError as error:
        raise ArbenchError(f"{source}: [timing]: {error}") from error


@dataclass(frozen=True)
class Protocol:
    """The settings by which time is measured. Every record states them.

    A case is a method with its settings. A session times all cases in turn, round by round.

    Latency is the time of one batch of ``latency_batch`` images. Throughput comes from batches of ``throughput_batch``.
    Each case first runs ``warmup`` times unmeasured, and then once in each of ``min_rounds`` rounds. What comes next
    depends on the number of cases:

    - With more than ``stage.FEW`` cases, only the noisy cases go on, in further rounds. All time that is left goes to
      them. A case is noisy if the 95 % interval of its median time is too wide (see ``summary.NOISY``), or if the case
      has too few samples for such an interval. This is tested again every ``summary.LOOK`` rounds. Each sample is
      divided by the machine's slowness at that moment, which is called pace. A pace of 1.2 means that the machine took
      a fifth longer than usual in this session. The pace is estimated from the samples of other cases that were taken
      right before and after the sample (harness.stages.timing.pace).
    - With at most ``stage.FEW`` cases, all cases go on until all are settled. For each case, the time relative to the
      other cases in the same round is computed. A case is settled if the 95 % interval of this relative time is no
      wider than ``settled``. This is also tested every ``summary.LOOK`` rounds.

    On CUDA, all cases go on for at least ``summary.TAIL_ROUNDS`` rounds, so that the latency has percentiles. The time
    budget is the same, so a slow case has fewer.

    The first ``min_rounds`` rounds may take longer than the time budget. Further rounds end when the budget is spent,
    or after ``max_rounds`` rounds. On a very slow or busy machine, twice the budget can be spent before ``min_rounds``
    rounds are done. The rounds then end early, as soon as three rounds are done. The record of each case says so, and
    its times are marked noisy.

    Sampling and decoding are timed separately, with the device synchronised before and after each. Weights are loaded,
    and labels and noise drawn, before the clock starts. Images differ from round to round and are the same for all
    cases.
    """

    latency_batch: int = 1
    throughput_batch: int = 64
    warmup: int = 1
    # With 13 rounds, the interval of a median leaves out the two lowest and the two highest samples: two disturbed
    # rounds do not widen it, and risk is left for a second test. With six rounds the interval is the whole range.
    min_rounds: int = 13
    max_rounds: int = 300
    latency_seconds: float = 1.6  # budget for latency: seconds per case on average, warm-up included
    throughput_seconds: float = 5.5  # the same for throughput
    # Budget for energy, where the device counts it: no run of a case begins after so many seconds. 0: no energy.
    energy_seconds: float = 6.0
    least_seconds: float = 60.0  # least budget of all cases together, if they are few (throughput: twice that)
    settled: float = 0.03
    seed: int = 0
    # How methods run (harness.execution.modes), the same for all cases. Capturing and compiling are done before the
    # clock and the budget start.
    capture: str = AUTO

    def __post_init__(self) -> None:
        if self.capture not in CAPTURES:
            raise unknown("value of capture", self.capture, CAPTURES)
        for name, low in (("latency_batch", 1), ("throughput_batch", 1), ("warmup", 1), ("min_rounds", 1)):
            if getattr(self, name) < low:
                raise ArbenchError(
                    f"timing protocol: {name} = {getattr(self, name)} is too small (valid: {low} or more)"
                )
        if self.max_rounds < self.min_rounds:
            raise ArbenchError(
                f"timing protocol: max_rounds = {self.max_rounds} is below min_rounds = {self.min_rounds}"
            )

    def on(self, device: torch.device, here: bool = True) -> "Protocol":
        """The protocol on a device: ``capture`` is then the mode that is used there. here: as in ``resolved``

        Raises ArbenchError if the device, or this machine, cannot run the mode.
        """
        return replace(self, capture=resolved(self.capture, device, here))
