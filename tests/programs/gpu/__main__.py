"""``nox -s gpu``, and where there is no nox: ``python3 -m tests.programs.gpu`` in the repository's root.

Runs the parts, prints the table, and writes the table and all figures to a folder. Exit code 1 if a line was missed or
a part broke, 2 if there is no GPU.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.programs.gpu import known

MINUTES = 8.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(prog="nox -s gpu --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, metavar="M", help="time for all (default: 8)")
    parser.add_argument("--only", nargs="+", metavar="PART", help="some of the parts: " + ", ".join(NAMES))
    parser.add_argument("--official", type=Path, metavar="DIR", help="checkouts: DIR/LlamaGen, DIR/EAR, DIR/VAR")
    parser.add_argument("--packages", type=Path, metavar="DIR", help="where timm and einops are, for EAR's code")
    parser.add_argument("--inception", type=Path, metavar="FILE", help="weights of Inception (default: random ones)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for table and figures (default: $OUT, or gpu-figures)")
    parser.add_argument("--fake", action="store_true", help="rehearse in little on the CPU; nothing is claimed")
    asked = parser.parse_args(arguments)
    if wrong := sorted(set(asked.only or ()) - set(NAMES)):
        parser.error(f"unknown part {wrong[0]!r} (valid: {', '.join(NAMES)})")
    if lacking := known.missing(known.NEEDED):
        print(f"nothing was measured: Python packages are missing: {', '.join(lacking)}", file=sys.stderr)
        return 2
    import torch  # late: this program says in one line if it is not there

    if not asked.fake and not torch.cuda.is_available():
        print(
            f"nothing was measured: torch {torch.__version__} sees no CUDA device (--fake rehearses on the CPU)",
            file=sys.stderr,
        )
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that whatever ends this program ends its processes
    with tempfile.TemporaryDirectory(prefix="arbench-gpu-") as folder:
        known.make_known(Path(folder) / "known")
        return _measured(asked, Path(folder))


NAMES = ("speed", "sparse", "same", "cpu", "inception", "draws", "official")
"""The parts, in the order in which they are run."""


def _measured(asked: argparse.Namespace, folder: Path) -> int:
    # late: without torch or a GPU, none of this is reached
    import torch

    from harness import files
    from harness.machine.devices import checked
    from tests.programs.gpu import agree, draws, official, parts, same, sparse, speed
    from tests.programs.gpu.about import about
    from tests.programs.gpu.lines import Line, exit_code, finite, rehearsed, table
    from tests.programs.gpu.parts import Part
    from tests.programs.gpu.settings import FAKE, REAL

    every = {
        part.name: part
        for part in (
            Part("speed", "1, 2", "captured latency and throughput, share of the floor", 9, speed.run),
            Part("sparse", "5", "the time of ActVAR and of static pruning, of VAR's", 6, sparse.run),
            Part("same", "3", "the same images however a trial is cut", 8, same.run),
            Part("cpu", "3", "the same images and scores on CPU and GPU", 4, agree.images),
            Part("inception", "4", "Inception's features on CPU and GPU", 1, agree.inception),
            Part("draws", "7", "large draws of tokens", 0.5, draws.run, 1.0),
            Part("official", "1", "the authors' code beside ours", 12 if asked.official else 0.1, official.run, 0.0),
        )
    }
    out = asked.out or Path(os.environ.get("OUT", "gpu-figures"))
    device = checked("cpu" if asked.fake else "cuda")
    began = time.monotonic()

    def tell(line: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {line}", flush=True)

    bench = parts.Bench(
        device, FAKE if asked.fake else REAL, folder, tell, asked.official, asked.packages, asked.inception
    )
    facts = {**about(device), "rehearsal": asked.fake, "minutes": asked.minutes}
    tell(", ".join(f"{name} {value}" for name, value in facts.items()))
    lines: list[Line] = []
    chosen = [every[name] for name in NAMES if name in (asked.only or NAMES)]
    for found in parts.run(chosen, bench, 60 * asked.minutes):
        lines += rehearsed(found) if asked.fake else found
        # Written after each part, so that a program that is ended leaves what it has.
        written = {"about": facts, "lines": [vars(line) for line in lines], "figures": bench.figures}
        files.write_json(out / "gpu.json", finite(written))
        if device.type == "cuda":
            torch.cuda.empty_cache()
    words = table(lines)
    head = "A rehearsal on the CPU, with fmnist's presets for all models: nothing is claimed.\n\n" if asked.fake else ""
    files.write_text(out / "gpu.txt", f"{head}{words}\n")
    print(f"\n{head}{words}\n\n{out / 'gpu.txt'}, {out / 'gpu.json'}; {time.monotonic() - began:.0f} s", flush=True)
    return exit_code(lines)


if __name__ == "__main__":
    sys.exit(main())
