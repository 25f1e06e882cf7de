"""The comparison: ``python -m tests.official.speed --llamagen DIR --ear DIR --var DIR``.

Each side of each model runs in a process of its own with the same threads, batch and kind of random weights; a warm-up,
then whole generations, labels to images. Rounds alternate the sides, so that a drift of the machine hits both; the
figure is the median of all. Exit code 1 if a ratio misses its target.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from harness.machine.cores import cores
from harness.machine.hardware import machine
from tests.official.models import MODELS

ROOT = Path(__file__).parent.parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Time what checkouts were given for; print the table."""
    parser = argparse.ArgumentParser(prog="nox -s speed --", description=(__doc__ or "").splitlines()[0])
    for name, model in MODELS.items():
        parser.add_argument(f"--{model.checkout}", type=Path, metavar="DIR", help=f"checkout of {name}'s repository")
    parser.add_argument("--packages", type=Path, metavar="DIR", help="where timm and einops are, for EAR")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], metavar="P")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rounds", type=int, default=2, help="processes of each side")
    parser.add_argument("--repeats", type=int, default=2, help="generations timed in each process")
    parser.add_argument("--layers", type=int, help="fewer layers, to try the script out: its ratios mean nothing")
    asked = parser.parse_args(arguments)
    chosen = {name: getattr(asked, model.checkout) for name, model in MODELS.items() if getattr(asked, model.checkout)}
    if not chosen:
        parser.error("name one checkout at least: --llamagen DIR, --ear DIR, --var DIR")
    about = machine()
    print(f"{about['processor']}, {asked.threads} threads, batch {asked.batch}, load {os.getloadavg()[0]:.1f}")
    print(f"{'model':<12} {'precision':<9} {'official s':>11} {'ours s':>8} {'ratio':>6} {'target':>7}  spread")
    missed = 0
    for name, checkout in chosen.items():
        for precision in asked.precision:
            found: dict[Path | None, list[float]] = {checkout: [], None: []}
            for _ in range(asked.rounds):
                for side, seconds in found.items():
                    seconds += _one(name, side, precision, asked)
            theirs, own = found[checkout], found[None]
            ratio, target = median(theirs) / median(own), MODELS[name].target
            missed += ratio < target
            spread = ", ".join(f"{min(side):.2f}-{max(side):.2f}" for side in (theirs, own))
            row = f"{name:<12} {precision:<9} {median(theirs):>11.2f} {median(own):>8.2f} {ratio:>6.2f} {target:>7}"
            print(f"{row}  {spread}{'' if ratio >= target else '  missed'}", flush=True)
    return 1 if missed else 0


def _one(name: str, checkout: Path | None, precision: str, asked: argparse.Namespace) -> list[float]:
    """Seconds of each generation of one process."""
    command = [sys.executable, "-m", "tests.official.one", name, "--precision", precision]
    for option in ("batch", "threads", "repeats"):
        command += [f"--{option}", str(getattr(asked, option))]
    command += ["--layers", str(asked.layers)] if asked.layers else []
    command += ["--checkout", str(checkout.resolve())] if checkout else []
    path = [str(ROOT), *([str(asked.packages.resolve())] if asked.packages else [])]
    given = {name: str(asked.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    env = {**os.environ, **given, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        side = f"official ({checkout})" if checkout else "ours"
        raise SystemExit(f"{name}, {precision}, {side}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


if __name__ == "__main__":
    sys.exit(main())
