"""``nox -s gpu``, and where there is no nox: ``python3 -m tests.programs.gpu`` in the repository's root.

Runs the parts, prints the table, and writes the table and all figures to a folder. Exit code 1 if a line was missed or
a part broke or had no time, 2 if there is no GPU.
"""

import time

BEGAN = time.monotonic()  # before the imports: they count as well

import argparse  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from contextlib import closing  # noqa: E402
from pathlib import Path  # noqa: E402

from tests.programs.gpu import known  # noqa: E402

MINUTES = 7.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(prog="nox -s gpu --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, metavar="M", help="time for all (default: 7)")
    parser.add_argument("--only", nargs="+", metavar="PART", help="some of the parts; official needs speed")
    parser.add_argument("--official", type=Path, metavar="DIR", help="checkouts: DIR/LlamaGen, DIR/EAR, DIR/VAR")
    parser.add_argument("--packages", type=Path, metavar="DIR", help="packages that Python lacks: timm, einops...")
    parser.add_argument("--inception", type=Path, metavar="FILE", help="weights of Inception (default: random ones)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for table and figures (default: $OUT, or gpu-figures)")
    parser.add_argument("--fake", action="store_true", help="rehearse in little on the CPU; nothing is claimed")
    asked = parser.parse_args(arguments)
    began = BEGAN if arguments is None else time.monotonic()
    with tempfile.TemporaryDirectory(prefix="arbench-gpu-") as folder:
        known.add_packages(Path(folder) / "packages", asked.packages)
        if lacking := known.missing(known.NEEDED):
            print(f"nothing was measured: Python packages are missing: {', '.join(lacking)}", file=sys.stderr)
            return 2
        import torch  # late: this program says in one line if it is not there

        from tests.programs.gpu.parts import NAMES

        if wrong := sorted(set(asked.only or ()) - set(NAMES)):
            parser.error(f"unknown part {wrong[0]!r} (valid: {', '.join(NAMES)})")
        if not asked.fake and not torch.cuda.is_available():
            print(
                f"nothing was measured: torch {torch.__version__} sees no CUDA device (--fake rehearses on the CPU)",
                file=sys.stderr,
            )
            return 2
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever ends this program ends its processes
        known.make_known(Path(folder) / "known")
        return _measured(asked, Path(folder), began)


def _measured(asked: argparse.Namespace, folder: Path, began: float) -> int:
    # late: without torch or a GPU, none of this is reached
    from harness import files
    from tests.programs.gpu.lines import Line, elsewhere, exit_code, finite, not_measured, rehearsed, table
    from tests.programs.gpu.parts import PARTS
    from tests.programs.gpu.runs import Processes, run

    def tell(line: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {line}", flush=True)

    def left() -> float:
        return 60 * asked.minutes - (time.monotonic() - began)

    out = asked.out or Path(os.environ.get("OUT", "gpu-figures"))
    work = Processes("cpu" if asked.fake else "cuda", asked.fake, folder, tell, began, asked.official, asked.inception)
    head = "A rehearsal on the CPU, with fmnist's presets for all models: nothing is claimed.\n\n" if asked.fake else ""
    lines: list[Line] = []

    def written(end: str = "") -> str:
        """Write all that there is, so that a program that is ended leaves what it has."""
        text = f"{head}{table(lines, None if asked.fake else work.about.get('gpu'))}{end}"
        files.write_text(out / "gpu.txt", f"{text}\n")
        facts = {**work.about, "rehearsal": asked.fake, "minutes": asked.minutes}
        found = {"about": facts, "lines": [vars(line) for line in lines], "figures": work.figures}
        files.write_json(out / "gpu.json", finite(found))
        return text

    names = chosen(asked.only)
    if "official" in names and asked.official is None:
        names.discard("official")
        lines.append(not_measured("1", "against the authors' code", "no checkouts were given (--official DIR)"))
    with closing(run([part for part in PARTS if part.name in names], work, left)) as found:
        for line in found:
            lines.append(rehearsed(line) if asked.fake else elsewhere(line, work.about.get("gpu")))
            tell(f"{lines[-1].verdict}: {line.name}: {line.figure}")
            written("\n\nNot all parts are done.")
    tell(", ".join(f"{name} {value}" for name, value in work.about.items()))
    text = written()
    print(f"\n{text}\n\n{out / 'gpu.txt'}, {out / 'gpu.json'}; {time.monotonic() - began:.0f} s", flush=True)
    return exit_code(lines)


def chosen(only: Sequence[str] | None) -> set[str]:
    """The names of the parts that are asked for. ``official`` needs ``speed``, whose times it holds against its own."""
    from tests.programs.gpu.parts import NAMES

    names = set(only or NAMES)
    return names | {"speed"} if "official" in names else names


if __name__ == "__main__":
    sys.exit(main())
