"""The part ``draws``: tokens drawn for a whole scale of VAR at batch 64, against the definition written out."""

import time
from collections.abc import Callable
from statistics import median

import torch

from harness.machine.devices import synchronise
from harness.sampling import Sampling, draw
from tests.helpers.drawing import written_out
from tests.programs.gpu.lines import Bound, Line, judged, milliseconds, seen
from tests.programs.gpu.parts import Bench

TOP_P = 0.96
REPEATS = 10
ALIKE = Bound(least=1.0, unit="%")


@torch.inference_mode()
def run(bench: Bench) -> list[Line]:
    """Draw once each way and compare, then time both."""
    rows, positions, vocabulary, top_k = bench.settings.draws
    generator = torch.Generator(bench.device).manual_seed(0)
    logits = 3 * torch.randn(rows, positions, vocabulary, device=bench.device, generator=generator)
    uniform = torch.rand(rows, positions, dtype=torch.float64, device=bench.device, generator=generator)
    sampling = Sampling(top_k=top_k, top_p=TOP_P)
    alike = (draw(logits, uniform, sampling) == written_out(logits, uniform, sampling)).double().mean().item()
    ours = taken(lambda: draw(logits, uniform, sampling), bench.device)
    by_definition = taken(lambda: written_out(logits, uniform, sampling), bench.device)
    bench.figures["draws"] = {"alike": alike, "seconds": ours, "seconds_by_definition": by_definition}
    what = f"draws at [{rows} x {positions}, {vocabulary}], top-k {top_k}, top-p {TOP_P:g}"
    words = f"{milliseconds(ours)}; by sorting all {milliseconds(by_definition)}"
    return [judged("7", f"{what}: same tokens as by definition", ALIKE, alike), seen("7", what, words, ours)]


def taken(work: Callable[[], object], device: torch.device) -> float:
    """Median seconds of a piece of work, after one run that warms up."""
    seconds = []
    for _ in range(1 + REPEATS):
        synchronise(device)
        began = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - began)
    return median(seconds[1:])
