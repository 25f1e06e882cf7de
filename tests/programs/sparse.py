"""``nox -s sparse``: do ActVAR's and static pruning's saved FLOPs save time on this CPU, and are draws quick?

VAR, ActVAR and static pruning generate the same images in turn, round by round, in an order that changes. Each time is
divided by VAR's of the same round. Then VAR's draws at batch 64 are timed beside those of commit f4749ea, which sorted
all logits. The exit code is 1 if a bound is missed: run it on a quiet machine.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from harness import registry
from harness.inputs import inputs
from harness.machine.cores import cores
from harness.machine.garbage import no_collection
from harness.machine.heap import keep_heap
from harness.method import KnobValue, Method
from harness.sampling import Sampling, draw
from harness.stages.timing.summary import ratio
from tests.helpers.drawing import written_out
from tests.programs.gpu.lines import Bound, Line, exit_code, judged, milliseconds, table

PRESET = "fmnist"
SPARSE: Mapping[str, KnobValue] = {"ffn_sparsity": 0.645, "ffn_tilt": 1.5}
"""Saves 21 % of the tokens' FLOPs."""
CASES: Mapping[str, tuple[str, Mapping[str, KnobValue]]] = {
    "VAR": ("var", {}),
    "ActVAR": ("actvar", SPARSE),
    "VAR-static": ("var-static", SPARSE),
}
DENSE = "VAR"
BOUNDS: Mapping[tuple[str, int], float] = {
    ("ActVAR", 1): 1.05,
    ("ActVAR", 64): 1.0,
    ("VAR-static", 1): 0.95,
    ("VAR-static", 64): 0.95,
}
"""Bounds of issue 17: case and batch size -> at most so many times VAR's time."""
ROUNDS: Mapping[int, int] = {1: 65, 64: 26}
"""Batch size -> rounds."""
DRAWS = (64, 256, 4096)
"""Rows, positions and vocabulary of VAR's last scale at batch 64."""
SAMPLING = Sampling(top_k=900, top_p=0.96)
HALF = Bound(most=0.5, unit="times")
DRAW_ROUNDS = 7

Seconds = dict[str, list[float]]
"""Seconds of each round, by case."""


def rounds_of(works: Mapping[str, Callable[[int], object]], rounds: int) -> Seconds:
    """The seconds of each piece of work in each of so many rounds, after one that warms up.

    works: name -> work, which is given the number of the round
    """
    found: Seconds = {name: [] for name in works}
    for turn in range(1 + rounds):
        for name in random.Random(turn).sample(list(works), len(works)):
            with no_collection():
                began = time.perf_counter()
                works[name](turn)
                seconds = time.perf_counter() - began
            if turn:
                found[name].append(seconds)
    return found


def compared(name: str, seconds: Seconds, of: str, bound: Bound, title: str, number: str = "8") -> Line:
    """The line of a case. Its figure is the ratio of its time to that of the case ``of``, with an interval.

    number: of the item of issue 17
    """
    one, other = ({"session": "", "latency": {"samples": seconds[case]}} for case in (name, of))
    value, low, high = ratio(one, other, "latency")
    times = " and ".join(milliseconds(sorted(seconds[case])[len(seconds[case]) // 2]) for case in (name, of))
    return judged(number, title, bound, value, f"[{low:.3g}, {high:.3g}], {times}")


@torch.inference_mode()
def sparse(rounds: Mapping[int, int]) -> Iterator[Line]:
    """The lines of ActVAR and static pruning. rounds: as ROUNDS"""
    methods = {name: _loaded(method) for name, (method, _) in CASES.items()}
    for batch, count in rounds.items():
        # Drawn beforehand: the time is that of sampling and decoding.
        drawn = [inputs(methods[DENSE], 0, range(turn * batch, (turn + 1) * batch)) for turn in range(1 + count)]
        works = {name: _generation(methods[name], knobs, drawn) for name, (_, knobs) in CASES.items()}
        seconds = rounds_of(works, count)
        for name in (name for name in CASES if name != DENSE):
            title = f"{name} at 21 % of FLOPs saved, batch {batch}: of VAR's time"
            yield compared(name, seconds, DENSE, Bound(most=BOUNDS[name, batch], unit="times"), title)


def _loaded(name: str) -> Method:
    method = registry.get(name).load(PRESET).eval()
    method.pack()
    return method


def _generation(
    method: Method, given: Mapping[str, KnobValue], drawn: Sequence[tuple[Tensor, Tensor]]
) -> Callable[[int], object]:
    knobs = type(method).resolve(given, PRESET)

    def generate(turn: int) -> object:
        return method.decode(method.sample(*drawn[turn], knobs, method.preset.sampling).tokens)

    return generate


@torch.inference_mode()
def draws(shape: Sequence[int], rounds: int) -> Line:
    """The line of the draws. shape: rows, positions, vocabulary"""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(*shape, generator=generator)
    uniform = torch.rand(*shape[:2], dtype=torch.float64, generator=generator)
    works: dict[str, Callable[[int], object]] = {
        "draw": lambda _: draw(logits, uniform, SAMPLING),
        "before": lambda _: written_out(logits, uniform, SAMPLING),
    }
    title = f"VAR's draws at [{shape[0]} x {shape[1]}, {shape[2]}]: of the time before"
    return compared("draw", rounds_of(works, rounds), "before", HALF, title, "7")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(prog="nox -s sparse --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=cores(), metavar="N", help="(default: the cores, %(default)s)")
    parser.add_argument("--share", type=float, default=1.0, metavar="S", help="of the rounds; 2 takes twice as long")
    asked = parser.parse_args(arguments)
    keep_heap()
    torch.set_num_threads(asked.threads)
    lines = list(sparse({batch: max(2, int(asked.share * count)) for batch, count in ROUNDS.items()}))
    lines.append(draws(DRAWS, max(2, int(asked.share * DRAW_ROUNDS))))
    print(table(lines))
    return exit_code(lines)


if __name__ == "__main__":
    sys.exit(main())
