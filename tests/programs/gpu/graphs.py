"""The part ``graphs``: does a graph live and die as it should? It is the first part, and takes seconds: what fails here
explains what fails later.

A graph's memory belongs to a pool. Each line uses graphs in another order: dropped and captured again, in sessions one
after the other, beside memory that is given back, and after a capture that failed.
"""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from harness import registry
from harness.execution.modes import OFF, resolved
from harness.execution.running import Running, running
from harness.inputs import inputs
from harness.machine.arithmetic import arithmetic
from harness.machine.devices import synchronise
from harness.method import Method
from harness.setup import in_precision
from harness.stages.timing.protocol import Protocol
from harness.stages.timing.stage import interleaved
from tests.programs.gpu.lines import Bound, Line, judged
from tests.programs.gpu.parts import Bench, broke, thinned
from tests.programs.gpu.speed import brief_energy

ALIKE = Bound(least=1.0, unit="%")
BATCH = 16


class NoFaultError(Exception):
    """A capture that had to fail did not."""


def run(bench: Bench) -> Iterator[Line]:
    """One line for each order."""
    orders: tuple[tuple[str, Callable[[Bench], float]], ...] = (
        ("captured, all dropped, captured again", again),
        ("two sessions of one case each", sessions),
        ("raster in bf16, memory given back between two replays", emptied),
        ("a good capture after one that failed", after_a_fault),
    )
    found = bench.figures["graphs"] = {}
    for name, order in orders:
        title = f"graphs: {name}: same tokens"
        try:
            found[name] = order(bench)
        except Exception as error:  # one order's fault must not cost the others their lines
            yield broke(bench, "1", title, error)
            continue
        yield judged("1", title, ALIKE, found[name])


class _Pair:
    """A method with fmnist's weights, a batch, and the tokens that it has in mode off. It is captured on another
    batch: a value that was captured with it would otherwise be the right one."""

    def __init__(self, bench: Bench, name: str, precision: str) -> None:
        self.method: Method = registry.get(name).load("fmnist").eval()
        in_precision(self.method, precision)
        self.method.to(bench.device).pack()
        self.knobs = type(self.method).resolve({}, "fmnist")
        self.batch = inputs(self.method, 0, range(BATCH))
        self.other = inputs(self.method, 0, range(BATCH + 1, 2 * BATCH + 1))
        self.mode = resolved(bench.settings.capture, bench.device)
        self.plain = self.tokens(self.made(OFF))

    def made(self, mode: str | None = None) -> Running:
        with torch.inference_mode(), arithmetic("off"):
            return running(self.method, self.knobs, self.method.preset.sampling, self.other, mode or self.mode)

    def tokens(self, made: Running) -> Tensor:
        with torch.inference_mode(), arithmetic("off"):
            found = made.sample(*self.batch).tokens
            made.decode(found)
        synchronise(found.device)
        return found

    def alike(self, made: Running) -> float:
        """The share of images whose tokens are those of mode off."""
        return (self.tokens(made) == self.plain).all(dim=1).double().mean().item()


def _given_back(device: torch.device) -> None:
    """Give all free memory back to the driver, and fill what is got anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    for _ in range(4):
        torch.full((2**22,), torch.nan, device=device)
    synchronise(device)


def again(bench: Bench) -> float:
    """Capture, drop all graphs, and capture again."""
    pair = _Pair(bench, "var", "fp32")
    first = pair.made()
    least = pair.alike(first)
    del first
    _given_back(bench.device)
    return min(least, pair.alike(pair.made()))


def sessions(bench: Bench) -> float:
    """Time a case in a session of its own, twice."""
    pair, least = _Pair(bench, "ear", "fp32"), 1.0
    protocol = Protocol(
        throughput_batch=2, min_rounds=3, max_rounds=3, latency_seconds=0.2, throughput_seconds=0.2, least_seconds=0.0,
        capture=bench.settings.capture,
    )  # fmt: skip
    for _ in range(2):
        case = ("ear", pair.method, pair.knobs, pair.method.preset.sampling)
        with brief_energy():
            (timing,) = interleaved([case], protocol, thinned(bench.tell))
        if "failure" in timing:
            raise RuntimeError(timing["failure"])
        least = min(least, (timing["capture"] or {"alike": 1.0})["alike"])
    return least


def emptied(bench: Bench) -> float:
    """Replay, give memory back and fill it, and replay again."""
    pair = _Pair(bench, "raster", "bf16")
    made = pair.made()
    first = pair.tokens(made)
    _given_back(bench.device)
    return (pair.tokens(made) == first).all(dim=1).double().mean().item()


def after_a_fault(bench: Bench) -> float:
    """Fail to capture a decoder that waits for the host, and then capture well."""
    pair = _Pair(bench, "var", "bf16")
    good = pair.made()
    method: Any = pair.method
    decode = method.decode

    def waits(tokens: Tensor) -> Tensor:
        tokens.nonzero().sum().item()  # the host waits for a shape, and for a value
        found: Tensor = decode(tokens)
        return found

    method.decode = waits
    try:
        made = pair.made()
    except Exception as error:  # torch's kind of error depends on its version
        bench.tell(f"graphs: as it should be, a capture failed: {type(error).__name__}")
    else:
        if made.capture != OFF:
            raise NoFaultError("a decoder that waits for the host was captured")
    finally:
        del method.decode
    return min(pair.alike(good), pair.alike(pair.made()))
