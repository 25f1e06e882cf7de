"""The part ``speed``: latency and throughput of the published models on random weights, captured and as they are, and
the share of the floor that is reached."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from harness import registry
from harness.execution.modes import OFF
from harness.machine import gpu
from harness.stages import floors
from harness.stages.flops.costs import costs
from harness.stages.timing import energy
from harness.stages.timing.protocol import Protocol
from harness.stages.timing.stage import interleaved
from tests.official.one import random_method
from tests.programs.gpu.known import missing
from tests.programs.gpu.lines import Bound, Line, failed, judged, milliseconds, not_measured, seen
from tests.programs.gpu.parts import Bench, thinned

KINDS = {"latency": "batch 1", "throughput": "batch 64"}
WIDTH = Bound(most=0.03, unit="%", timed=True)
NO_NOISE = Bound(most=0, timed=True)
ALIKE = Bound(least=1.0, unit="%")
TOKENS, DECODER = Bound(least=0.50, unit="%", timed=True), Bound(least=0.35, unit="%", timed=True)
OF_THE_RATE = "VAR-d16"
"""The model whose arithmetic at batch 64 is compared with the device's rate."""
FIXED_S, ENERGY_S = 6.0, 6.0
"""Seconds that a case takes beside its rounds: for capturing and first runs, and for energy."""
LEAST_S = 4.0
"""A case has at least so many seconds for the rounds of a clock: with fewer there would be too few for an interval."""


def run(bench: Bench) -> Iterator[Line]:
    """Measure each model in a session of its own, so that its lines are there as soon as it is done."""
    settings = bench.settings
    found = bench.figures["speed"] = {}
    for name, (method, preset) in settings.presets.items():
        owner = registry.get(method)
        made = random_method(owner, preset, settings.precision, bench.device)
        case = (name, made, owner.resolve({}, preset), made.preset.sampling)
        (timing,) = interleaved([case], protocol(bench, len(settings.presets), FIXED_S + ENERGY_S), thinned(bench.tell))
        cost = costs(owner, preset, *case[2:], precision=settings.precision)
        found[name] = {"timing": timing, "flops": cost}
        yield from of_model(name, found[name], settings.floors[name])


def protocol(bench: Bench, cases: int, fixed: float) -> Protocol:
    """The timing protocol, if the part times so many cases within its share of the time.

    A captured case is timed by two clocks, so that half of the time is for each.

    fixed: seconds that a case takes beside its rounds
    """
    fewest, most = bench.settings.rounds
    each = max(LEAST_S, (bench.seconds / cases - fixed) / 2)
    return Protocol(
        throughput_batch=bench.settings.batch,
        min_rounds=fewest,
        max_rounds=most,
        latency_seconds=each / 3,
        throughput_seconds=2 * each / 3,
        least_seconds=0.0,
        capture=bench.settings.capture,
    )


@contextmanager
def brief_energy() -> Iterator[None]:
    """Inside the ``with``, a session measures energy for a moment only: a session whose energy is not shown need not
    take the seconds that it takes."""
    before = energy.LEAST_S
    energy.LEAST_S = 0.05
    try:
        yield
    finally:
        energy.LEAST_S = before


def of_model(name: str, record: Mapping[str, Any], least: float) -> list[Line]:
    """The lines of one model. record: its ``timing`` and ``flops``; least: its share of the floor at batch 1."""
    timing = record["timing"]
    if "failure" in timing:
        return [failed("1", f"{name}: time", timing["failure"])]
    lines = [clocks(name, timing, kind) for kind in KINDS]
    if timing["device"] != "cpu":
        lines += conditions(name, timing)
        if why := not_captured(timing):
            return [*lines, failed("1, 2", f"{name}: captured", why)]
    latency, throughput = timing["latency"], timing["throughput"]
    noisy = [latency["noisy"], throughput["noisy"]]
    why_noisy = "; ".join(filter(None, (one["why"] for one in (latency, throughput))))
    lines += [
        judged("1", f"{name}: half-width of the interval of latency", WIDTH, half_width(latency)),
        judged("1", f"{name}: noisy times", NO_NOISE, sum(noisy), f"of {len(noisy)}{f' ({why_noisy})' * any(noisy)}"),
    ]
    if timing["capture"]:
        lines.append(judged("1", f"{name}: same tokens captured and not", ALIKE, timing["capture"]["alike"]))
    share = floors.share(record, "latency")
    words = "" if share is not None else "the device's rates could not be measured"
    lines.append(
        judged("2", f"{name}: share of the floor, batch 1", Bound(least=least, unit="%", timed=True), share, words)
    )
    if name == OF_THE_RATE:
        lines += of_the_rate(name, record)
    return lines


def conditions(name: str, timing: Mapping[str, Any]) -> list[Line]:
    """The lines of what NVML says of a case on a GPU: its energy, and whether the GPU was throttled or shared."""
    one, title = timing["throughput"], f"{name}: energy and state of the GPU"
    if missing(("pynvml",)):
        return [not_measured("6", title, "nvidia-ml-py is not installed")]
    joules, ends = one["joules_per_image"], one["joules_per_image_interval"]
    used = "energy unknown" if joules is None else f"{joules:.3g} J an image"
    used += f" [{', '.join(f'{end:.3g}' for end in ends)}]" if ends else ""
    states = [timing[kind]["gpu"] for kind in KINDS]
    if not any(states):
        return [seen("6", title, f"NVML did not answer; {used}", joules)]
    disturbed = ", ".join(dict.fromkeys(filter(None, map(gpu.in_words, states)))) or "not throttled, not shared"
    clock = next((state["sm_mhz"] for state in states if state and state["sm_mhz"]), None)
    words = [used, disturbed, *([f"SM clock {clock[1]:.0f} MHz"] if clock else [])]
    return [seen("6", title, "; ".join(words), joules)]


def clocks(name: str, timing: Mapping[str, Any], kind: str) -> Line:
    """The line that shows a time, and the same time without capture where there is one."""
    one, mode = timing[kind], (timing["capture"] or {}).get("mode", OFF)
    title = f"{name}: batch {one['batch']}, {'as it is' if mode == OFF else mode}"
    words = milliseconds(one["total_s"], one["interval"])
    if timing["eager"]:
        eager = timing["eager"][kind]
        words += f"; not captured {milliseconds(eager['total_s'], eager['interval'])}"
    return seen("1", title, words, one["total_s"])


def not_captured(timing: Mapping[str, Any]) -> str | None:
    """Why a case on a GPU was not captured; None if it was."""
    capture = timing["capture"] or {}
    return capture.get("why") or (None if capture.get("mode", OFF) != OFF else "it was not captured")


def half_width(one: Mapping[str, Any]) -> float:
    """How far the farther end of an interval is from the median, as a share of the median."""
    low, high = one["interval"]
    return float(max(high / one["total_s"] - 1, 1 - low / one["total_s"]))


def of_the_rate(name: str, record: Mapping[str, Any]) -> list[Line]:
    """The share of the device's matrix rate that sampling and the decoder reach in a large batch."""
    timing, cost = record["timing"], record["flops"]
    many, rates = timing["throughput"], timing["rates"]
    found = []
    for what, bound, macs, seconds in (
        ("tokens", TOKENS, sum(cost["by_step"]), many["tokens_s"]),
        ("decoder", DECODER, cost["decoder_macs"], many["decoder_s"]),
    ):
        share = 2 * macs * many["batch"] / seconds / rates["matrix"] if rates and seconds > 0 else None
        words = f"of {rates['matrix'] / 1e12:.3g} TFLOP/s" if rates else "the device's rates could not be measured"
        found.append(judged("2", f"{name}: {what} at batch {many['batch']}, of the matrix rate", bound, share, words))
    return found
