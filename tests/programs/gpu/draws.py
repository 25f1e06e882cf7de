"""The part ``draws``: tokens drawn for a whole scale of VAR at batch 64, against the definition written out."""

import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

import torch

from harness.machine.devices import synchronise
from harness.sampling import Sampling, _largest, draw
from tests.helpers.drawing import written_out
from tests.programs.gpu.lines import Bound, Line, judged, milliseconds, seen
from tests.programs.gpu.parts import Bench

SAMPLINGS = ((900, 0.96), (900, 1.0), (0, 0.96), (2000, 0.5), (1, 1.0))
"""top-k and top-p of the draws. The first is timed."""
REPEATS = 10
ALIKE = Bound(least=1.0, unit="%")


@torch.inference_mode()
def run(bench: Bench) -> Iterator[Line]:
    """Draw each way and compare, with logits in float32 and with logits in bfloat16, of which many are equal; then time
    one."""
    rows, positions, vocabulary, size = bench.settings.draws
    generator = torch.Generator(bench.device).manual_seed(0)
    logits = 3 * torch.randn(rows, positions, vocabulary, device=bench.device, generator=generator)
    uniform = torch.rand(rows, positions, dtype=torch.float64, device=bench.device, generator=generator)
    found: dict[str, Any] = {}
    bench.figures["draws"] = found
    shape = f"[{rows} x {positions}, {vocabulary}]"
    for kind, values in (("fp32", logits), ("bf16, with ties", logits.bfloat16().float())):
        alike = {}
        for top_k, top_p in SAMPLINGS:
            sampling = Sampling(top_k=min(top_k, size) if top_k else 0, top_p=top_p)
            same = draw(values, uniform, sampling) == written_out(values, uniform, sampling)
            alike[f"top-k {sampling.top_k}, top-p {top_p:g}"] = same.double().mean().item()
        found[kind] = {"alike": alike}
        yield _worst(f"draws at {shape} of {kind}: same tokens as by definition", alike)
        # On a GPU the largest logits are found by another operation than on a CPU.
        few = values[:8]
        sorts = {
            f"top-k {k}": float((_largest(few, k).cpu() == _largest(few.cpu(), k)).double().mean())
            for k in sorted({1, min(size, 900), vocabulary})
        }
        found[kind]["largest"] = sorts
        yield _worst(f"largest logits of {kind}, on the device and on the CPU", sorts)
    sampling = Sampling(top_k=size, top_p=SAMPLINGS[0][1])
    ours = taken(lambda: draw(logits, uniform, sampling), bench.device)
    by_definition = taken(lambda: written_out(logits, uniform, sampling), bench.device)
    found |= {"seconds": ours, "seconds_by_definition": by_definition}
    words = f"{milliseconds(ours)}; by sorting all {milliseconds(by_definition)}"
    yield seen("7", f"draws at {shape}, top-k {size}, top-p {sampling.top_p:g}", words, ours)


def _worst(name: str, shares: Mapping[str, float]) -> Line:
    least = min(shares, key=lambda one: shares[one])
    return judged("7", name, ALIKE, shares[least], f"({least})" if shares[least] < 1 else f"of {len(shares)} settings")


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
