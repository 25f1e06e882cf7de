"""``nox -s copies``: two identical copies of a method and one made 5 % slower, timed as three methods, 20 times over.

Prints in how many runs the copies' ratio has 1 in its interval, and in how many the slower one is told apart. All three
are loaded anew for each run. With ``--busy`` another process keeps a core busy meanwhile. Exit code 1 if 1 is missed in
more than a tenth of the runs, or, on a quiet machine, the slower one in more than a tenth.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping

from torch import Tensor

from harness import registry
from harness.method import Generated, KnobValue, Method
from harness.sampling import Sampling
from harness.stages.timing.cases import Case
from harness.stages.timing.protocol import Protocol
from harness.stages.timing.stage import interleaved
from harness.stages.timing.summary import ratio

SLOWER = 0.05
ENOUGH = 0.9
"""Of the runs."""


def slowed(method: Method) -> Method:
    """The method, sampling and decoding 5 % slower."""
    sample, decode = method.sample, method.decode

    def slow_sample(labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        began = time.perf_counter()
        found = sample(labels, noise, knobs, sampling)
        _spin(began)
        return found

    def slow_decode(tokens: Tensor) -> Tensor:
        began = time.perf_counter()
        found = decode(tokens)
        _spin(began)
        return found

    method.sample, method.decode = slow_sample, slow_decode  # type: ignore[method-assign]
    return method


def _spin(began: float) -> None:
    until = time.perf_counter() + SLOWER * (time.perf_counter() - began)
    while time.perf_counter() < until:
        pass


def _burn() -> None:
    while True:
        sum(range(10_000))


def cases(owner: type[Method], preset: str) -> list[Case]:
    """Two copies of a method and a slower one."""
    one, copy, slower = (owner.load(preset) for _ in range(3))
    named = {"one": one, "copy": copy, "slower": slowed(slower)}
    return [(name, method, owner.resolve({}, preset), method.preset.sampling) for name, method in named.items()]


def main() -> int:
    """Time and count."""
    parser = argparse.ArgumentParser(prog="nox -s copies --")
    parser.add_argument("method", nargs="?", default="var", metavar="METHOD")
    parser.add_argument("--preset", default="fmnist", metavar="P")
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--busy", action="store_true", help="keep a core busy meanwhile")
    asked = parser.parse_args()
    owner = registry.get(asked.method)
    burner = multiprocessing.get_context("fork").Process(target=_burn, daemon=True)
    if asked.busy:
        burner.start()
    hits: dict[str, list[int]] = {"latency": [0, 0], "throughput": [0, 0]}
    for turn in range(1, asked.runs + 1):
        one, copy, slower = interleaved(cases(owner, asked.preset), Protocol())
        for kind, counts in hits.items():
            (middle, low, high), (slow, least, most) = ratio(copy, one, kind), ratio(slower, one, kind)
            counts[0] += low <= 1 <= high
            counts[1] += least > 1
            rounds = len(one[kind]["samples"])
            print(
                f"{turn}: {kind}: {rounds} rounds, copy {middle:.4f} ({low:.4f} to {high:.4f}), "
                f"slower {slow:.4f} ({least:.4f} to {most:.4f}), load {os.getloadavg()[0]:.1f}", flush=True,
            )  # fmt: skip
    for kind, (same, told) in hits.items():
        print(f"{kind}: copies alike in {same} of {asked.runs} runs, 5 % slower told apart in {told} of {asked.runs}")
    fewest = ENOUGH * asked.runs
    return int(any(same < fewest or (told < fewest and not asked.busy) for same, told in hits.values()))


if __name__ == "__main__":
    sys.exit(main())
