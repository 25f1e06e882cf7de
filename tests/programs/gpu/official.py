"""The part ``official``: the authors' code on the same GPU, against the times that the part ``speed`` has taken."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from harness.machine.cores import cores
from tests.official.models import COMPILED as COMPILED_TARGET
from tests.official.models import MODELS
from tests.official.speed import THEIRS, THEIRS_COMPILED, TITLES, Asked, BrokenError, Side, seconds
from tests.programs.gpu.lines import Bound, Line, failed, judged, milliseconds, not_measured
from tests.programs.gpu.parts import LONGEST, Bench

OURS = {"LlamaGen": "LlamaGen-B", "EAR-adaLN": "EAR-B", "VAR": "VAR-d16"}
"""Names of the models: the authors' -> in the part ``speed``."""
REPEATS = 3
BATCHES = {1: "latency", 64: "throughput"}
MARGIN_S = 3.0
"""Seconds before the part's end at which a side is ended."""
FOLDERS = {"LlamaGen": "LlamaGen", "EAR-adaLN": "EAR", "VAR": "VAR"}
"""The folders of the checkouts inside of the folder that ``--official`` names."""


EAGER_S = 90.0
"""An eager side has at most so many seconds."""
LEAST_S = 20.0
"""A side is not begun if fewer seconds are left."""


def run(bench: Bench) -> Iterator[Line]:
    """Time the authors' code of each model for which there is a checkout. What is compiled comes last: it takes
    longest, and is most likely to fail."""
    if bench.official is None or bench.device.type != "cuda":
        why = "no checkouts were given (--official DIR)" if bench.official is None else "only on CUDA"
        yield not_measured("1", "against the authors' code", why)
        return
    found: dict[str, Any] = bench.figures.setdefault("official", {})
    ours = bench.figures.get("speed", {})
    for name, side in order():
        checkout = bench.official / FOLDERS[name]
        title = f"{OURS[name]}: {TITLES[side]}"
        if not checkout.is_dir():
            yield not_measured("1", title, f"{checkout} is no folder")
            continue
        limit = bench.left - MARGIN_S if side == THEIRS_COMPILED else min(EAGER_S, bench.left - MARGIN_S)
        if limit < LEAST_S:
            yield failed("1", title, f"not begun: {bench.left:.0f} s were left")
            continue
        try:
            times = _times(bench, name, checkout, side, limit)
        except BrokenError as error:
            yield fault(title, error, checkout)
            continue
        found.setdefault(name, {})[TITLES[side]] = times
        bench.tell(f"official: {name}, {TITLES[side]}: done")
        yield from lines_of(name, side, times, ours.get(OURS[name], {}).get("timing", {}))


def order() -> list[tuple[str, Side]]:
    """The models and sides, in the order in which they are timed."""
    eager = [(name, THEIRS) for name in ("EAR-adaLN", "VAR", "LlamaGen")]
    return [*eager, *((name, THEIRS_COMPILED) for name, model in MODELS.items() if model.compiles)]


def fault(title: str, error: BrokenError, checkout: Path) -> Line:
    """The line of a side that broke. What breaks inside of the authors' code is no fault of ours: it could not be
    measured."""
    words = " ".join(str(error).split())
    if str(checkout.resolve()) in error.said:
        return not_measured("1", title, f"the authors' code broke: {words[-LONGEST:]}")
    return failed("1", title, words[-LONGEST:])


def _times(bench: Bench, name: str, checkout: Path, side: Side, limit: float) -> dict[int, list[float]]:
    asked = Asked(
        device=str(bench.device),
        precision=bench.settings.precision,
        batches=tuple(BATCHES),
        threads=cores(),
        repeats=REPEATS,
        limit=limit,
    )
    return seconds(name, checkout, side, asked)


def lines_of(name: str, side: Side, theirs: Mapping[int, list[float]], timing: Mapping[str, Any]) -> list[Line]:
    """The lines of one side of the authors' code.

    theirs: seconds of generations, by batch size; timing: of ours, from the part ``speed``; {} if there is none
    """
    lines = []
    for batch, kind in BATCHES.items():
        target = COMPILED_TARGET if side == THEIRS_COMPILED else MODELS[name].captured[batch]
        title = f"{OURS[name]}, batch {batch}: as fast as the {TITLES[side]} code"
        bound = Bound(least=target, unit="times", timed=True)
        taken = median(theirs[batch])
        one = timing.get(kind)
        if not one or one["batch"] != batch:
            why = f"ours was not timed at this batch size in this run; theirs {milliseconds(taken)}"
            lines.append(judged("1", title, bound, None, why))
        else:
            words = f"(theirs {milliseconds(taken)}, ours {milliseconds(one['total_s'])})"
            lines.append(judged("1", title, bound, taken / one["total_s"], words))
    return lines
