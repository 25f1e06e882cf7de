"""The comparison: ``python -m tests.official.speed --llamagen DIR --ear DIR --var DIR [--device cuda]``.

Each side of each model runs in a process of its own with the same threads, batch and kind of random weights; a warm-up,
then whole generations, labels to images. Rounds alternate the sides, so that a drift of the machine hits both; the
figure is the median of all. Exit code 1 if a ratio misses its target.

On a CPU there are two sides: the authors' code, and ours as it is. On CUDA ours runs captured as well, which is what
the targets are for, and the authors' code runs compiled as well where their script can compile.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harness.machine.cores import cores
from harness.machine.hardware import machine
from tests.official.models import COMPILED as COMPILED_TARGET
from tests.official.models import MODELS, Model
from tests.official.one import CAPTURED, COMPILED, PLAIN
from tests.programs.gpu import known

ROOT = Path(__file__).parent.parent.parent
Side = tuple[bool, str]
"""Whether it is the authors' code, and how it runs: plain, captured or compiled."""
THEIRS, THEIRS_COMPILED, OURS, OURS_CAPTURED = (True, PLAIN), (True, COMPILED), (False, PLAIN), (False, CAPTURED)
TITLES: Mapping[Side, str] = {
    THEIRS: "official",
    THEIRS_COMPILED: "official, compiled",
    OURS: "ours",
    OURS_CAPTURED: "ours, captured",
}
Times = Mapping[Side, Sequence[float]]
"""Seconds of generations, by side."""


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as one of the authors' sides one of our sides is."""

    theirs: Side
    ours: Side
    value: float
    target: float | None  # None where there is none

    @property
    def missed(self) -> bool:
        """Whether the ratio is below its target."""
        return self.target is not None and self.value < self.target


@dataclass(frozen=True)
class Asked:
    """What every process of a comparison is told."""

    device: str
    precision: str
    batches: Sequence[int]
    threads: int
    repeats: int  # generations timed in each process
    layers: int | None = None
    limit: float | None = None  # seconds after which a process is ended; None for no limit


class BrokenError(SystemExit):
    """A process of the comparison failed, or took too long."""

    def __init__(self, reason: str, said: str = "") -> None:
        """said: what the process wrote to stderr; empty if it took too long"""
        super().__init__(reason)
        self.said = said


def sides(model: Model, device: str) -> list[Side]:
    """The sides that are compared on a device."""
    if not device.startswith("cuda"):
        return [THEIRS, OURS]
    return [THEIRS, *([THEIRS_COMPILED] if model.compiles else []), OURS, OURS_CAPTURED]


def ratios(model: Model, batch: int, times: Times) -> list[Ratio]:
    """All ratios of a model, from the medians of the sides. Our fastest way to run has the targets."""
    best = OURS_CAPTURED if OURS_CAPTURED in times else OURS
    found = []
    for ours in (side for side in (OURS, OURS_CAPTURED) if side in times):
        for theirs in (side for side in (THEIRS, THEIRS_COMPILED) if side in times):
            if best == OURS:
                target: float | None = model.target
            else:
                target = COMPILED_TARGET if theirs == THEIRS_COMPILED else model.captured.get(batch)
            value = median(times[theirs]) / median(times[ours])
            found.append(Ratio(theirs, ours, value, target if ours == best else None))
    return found


def seconds(name: str, checkout: Path, side: Side, asked: Asked) -> dict[int, list[float]]:
    """Seconds of each generation of one process, by batch size. BrokenError if the process fails or takes too long."""
    command = [sys.executable, "-m", "tests.official.one", name, "--how", side[1]]
    command += ["--device", asked.device, "--precision", asked.precision, "--batch", *map(str, asked.batches)]
    for option in ("threads", "repeats"):
        command += [f"--{option}", str(getattr(asked, option))]
    command += ["--layers", str(asked.layers)] if asked.layers else []
    command += ["--checkout", str(checkout.resolve())] if side[0] else []
    there = os.environ.get("PYTHONPATH", "")
    path = [str(ROOT), *([there] if there else [])]
    given = {name: str(asked.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    env = {**os.environ, **given, "PYTHONPATH": os.pathsep.join(path)}
    what = f"{name}, {asked.precision}, {TITLES[side]}"
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=asked.limit
        )
    except subprocess.TimeoutExpired as error:
        raise BrokenError(f"{what}: not done after {asked.limit:.0f} s") from error
    if done.returncode:
        raise BrokenError(f"{what}: exit code {done.returncode}\n{done.stderr[-2000:]}", done.stderr)
    return {int(batch): taken for batch, taken in json.loads(done.stdout.splitlines()[-1]).items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Time what checkouts were given for; print the table."""
    parser = argparse.ArgumentParser(prog="nox -s speed --", description=(__doc__ or "").splitlines()[0])
    for name, model in MODELS.items():
        parser.add_argument(f"--{model.checkout}", type=Path, metavar="DIR", help=f"checkout of {name}'s repository")
    parser.add_argument("--packages", type=Path, metavar="DIR", help="where timm and einops are, for EAR")
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--precision", nargs="+", metavar="P", help="(default: fp32 bf16; on CUDA bf16)")
    parser.add_argument("--batch", type=int, nargs="+", metavar="N", help="(default: 4; on CUDA 1 64)")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rounds", type=int, default=2, help="processes of each side")
    parser.add_argument("--repeats", type=int, help="generations timed in each process (default: 2; on CUDA 5)")
    parser.add_argument("--layers", type=int, help="fewer layers, to try the script out: its ratios mean nothing")
    asked = parser.parse_args(arguments)
    chosen = {name: getattr(asked, model.checkout) for name, model in MODELS.items() if getattr(asked, model.checkout)}
    if not chosen:
        parser.error("name one checkout at least: --llamagen DIR, --ear DIR, --var DIR")
    with tempfile.TemporaryDirectory() as folder:
        # Where arbench is not installed, such as on a borrowed machine, its methods are made known.
        known.add_packages(Path(folder) / "packages", asked.packages)
        known.make_known(Path(folder) / "known")
        return _compared(asked, chosen)


def _compared(asked: argparse.Namespace, chosen: Mapping[str, Path]) -> int:
    """Time both sides of each model; print the table."""
    on_gpu = asked.device.startswith("cuda")
    batches, repeats = asked.batch or ([1, 64] if on_gpu else [4]), asked.repeats or (5 if on_gpu else 2)
    about = machine()
    print(f"{about['processor']}, {asked.device}, {asked.threads} threads, load {os.getloadavg()[0]:.1f}")
    print(f"{'model':<10} {'precision':<9} {'batch':>5} {'ratio':>6} {'target':>7}  sides, median seconds (range)")
    missed = 0
    for name, checkout in chosen.items():
        for precision in asked.precision or (["bf16"] if on_gpu else ["fp32", "bf16"]):
            how = Asked(asked.device, precision, batches, asked.threads, repeats, asked.layers)
            times: dict[int, dict[Side, list[float]]] = {batch: {} for batch in batches}
            for _ in range(asked.rounds):
                for side in sides(MODELS[name], asked.device):
                    for batch, taken in seconds(name, checkout, side, how).items():
                        times[batch].setdefault(side, []).extend(taken)
            for batch, found in times.items():
                for ratio in ratios(MODELS[name], batch, found):
                    missed += ratio.missed
                    print(f"{name:<10} {precision:<9} {batch:>5} {_row(ratio, found)}", flush=True)
    return 1 if missed else 0


def _row(ratio: Ratio, times: Times) -> str:
    target = "" if ratio.target is None else f"{ratio.target:g}"
    spread = ", ".join(_spread(times, (ratio.theirs, ratio.ours)))
    return f"{ratio.value:>6.2f} {target:>7}  {spread}{'  missed' if ratio.missed else ''}"


def _spread(times: Times, of: Sequence[Side]) -> Iterator[str]:
    for side in of:
        taken = times[side]
        yield f"{TITLES[side]} {median(taken):.3g} ({min(taken):.3g}-{max(taken):.3g})"


if __name__ == "__main__":
    sys.exit(main())
