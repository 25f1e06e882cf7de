"""The part ``official``: the authors' code on the same GPU, against the times that the part ``speed`` has taken."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from harness.machine.cores import cores
from tests.official.models import COMPILED as COMPILED_TARGET
from tests.official.models import MODELS
from tests.official.speed import THEIRS, THEIRS_COMPILED, TITLES, Asked, Side, seconds
from tests.programs.gpu.lines import Bound, Line, failed, judged, milliseconds, not_measured
from tests.programs.gpu.parts import LONGEST, Bench

OURS = {"LlamaGen": "LlamaGen-B", "EAR-adaLN": "EAR-B", "VAR": "VAR-d16"}
"""Names of the models: the authors' -> in the part ``speed``."""
REPEATS = 3
BATCHES = {1: "latency", 64: "throughput"}
FOLDERS = {"LlamaGen": "LlamaGen", "EAR-adaLN": "EAR", "VAR": "VAR"}
"""The folders of the checkouts inside of the folder that ``--official`` names."""


def run(bench: Bench) -> Iterator[Line]:
    """Time the authors' code of each model for which there is a checkout."""
    if bench.official is None or bench.device.type != "cuda":
        why = "no checkouts were given (--official DIR)" if bench.official is None else "only on CUDA"
        yield not_measured("1", "against the authors' code", why)
        return
    found: dict[str, Any] = bench.figures.setdefault("official", {})
    ours = bench.figures.get("speed", {})
    for name, model in MODELS.items():
        checkout = bench.official / FOLDERS[name]
        if not checkout.is_dir():
            yield not_measured("1", f"{OURS[name]} against the authors' code", f"{checkout} is no folder")
            continue
        found[name] = {}
        for side in (THEIRS, *([THEIRS_COMPILED] if model.compiles else [])):
            try:
                found[name][TITLES[side]] = _times(bench, name, checkout, side)
            except SystemExit as error:  # says which process failed, and how
                yield failed("1", f"{OURS[name]}: {TITLES[side]}", " ".join(str(error).split())[-LONGEST:])
                continue
            bench.tell(f"official: {name}, {TITLES[side]}: done")
            yield from lines_of(name, side, found[name][TITLES[side]], ours.get(OURS[name], {}).get("timing", {}))


def _times(bench: Bench, name: str, checkout: Path, side: Side) -> dict[int, list[float]]:
    asked = Asked(
        device=str(bench.device),
        precision=bench.settings.precision,
        batches=tuple(BATCHES),
        threads=cores(),
        repeats=REPEATS,
        packages=bench.packages,
        limit=max(60.0, bench.seconds),
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
        bound = Bound(least=target, unit="times")
        taken = median(theirs[batch])
        one = timing.get(kind)
        if not one or one["batch"] != batch:
            why = f"ours was not timed at this batch size in this run; theirs {milliseconds(taken)}"
            lines.append(judged("1", title, bound, None, why))
        else:
            words = f"(theirs {milliseconds(taken)}, ours {milliseconds(one['total_s'])})"
            lines.append(judged("1", title, bound, taken / one["total_s"], words))
    return lines
