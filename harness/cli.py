"""The ``arbench`` command. Packages add sub-commands through the entry-point group ``arbench.commands``: a callable
that is given argparse's subparsers, adds a parser, and sets its default ``run`` to a function of the parsed arguments
that returns an exit code (or None for 0).

Exit codes: 0; 1 some trials failed; 2 something the user can mend; 130 interrupted.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from harness import cli_cluster, cli_others, cli_records, cli_run, cli_score, streams
from harness.cores import heed_quota
from harness.errors import ArbenchError, one_line

GROUP = "arbench.commands"


def main(arguments: Sequence[str] | None = None) -> int:
    """The console command: parse, run, turn errors meant for people into one line."""
    with streams.lenient() as output:
        try:
            heed_quota()
            asked = parser().parse_args(arguments)
            code = asked.run(asked) or 0
            return code if output.done() else 2
        except ArbenchError as error:
            return _told(str(error))
        except KeyboardInterrupt:
            print("arbench: interrupted; the same command goes on from here", file=sys.stderr)
            return 130
        except BrokenPipeError:  # `arbench list | head`
            streams.drop(sys.stdout)
            return 0
        except OSError as error:
            return _told(f"{error.filename or 'this machine'}: {error.strerror or error}")


def _told(reason: str) -> int:
    print(f"arbench: {one_line(reason)}", file=sys.stderr)
    return 2


def parser() -> argparse.ArgumentParser:
    """The whole command line, with what other packages add to it."""
    whole = argparse.ArgumentParser(
        prog="arbench", description="Measures image generators: fidelity against real cost."
    )
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    _add_list(commands)
    cli_run.add(commands)
    _add_export(commands)
    _add_flops(commands)
    _add_counters(commands)
    _add_weights(commands)
    cli_score.add(commands)
    cli_cluster.add(commands)
    cli_records.add(commands)
    cli_others.add(commands)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            point.load()(commands)
        except ImportError as error:
            from harness.registry import whence  # late: it needs torch

            what = f"sub-command {point.name!r} ({point.value})"
            print(f"arbench: {what} is left out: {error}{whence(point)}", file=sys.stderr)
    return whole


def _add_list(commands: Any) -> None:
    add = commands.add_parser("list", help="methods, their presets and knobs")
    add.add_argument("--json", action="store_true", help="as JSON")
    add.set_defaults(run=_list)


def _add_export(commands: Any) -> None:
    add = commands.add_parser("export", help="all records as one table")
    add.add_argument("--store", type=Path, required=True, metavar="DIR", help="folder of records")
    add.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .csv or .parquet file")
    add.set_defaults(run=_export)


def _add_flops(commands: Any) -> None:
    add = commands.add_parser("flops", help="parameters, MACs and FLOPs of a preset, without weights")
    add.add_argument("method", metavar="METHOD")
    add.add_argument("--preset", required=True, metavar="P")
    add.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a knob or a sampling setting (cfg=1: no guidance); as often as need be",
    )
    add.add_argument("--steps", action="store_true", help="show every step of sampling, too")
    add.add_argument("--check", action="store_true", help="count what runs, too: seconds to a minute")
    add.add_argument("--json", action="store_true", help="as JSON")
    add.set_defaults(run=_flops)


def _add_counters(commands: Any) -> None:
    add = commands.add_parser(
        "counters", help="MACs of methods by every counter, side by side; exit code 1 over 0.5 %%"
    )
    add.add_argument("methods", nargs="*", metavar="METHOD", help="all that are installed if none is named")
    add.set_defaults(run=_counters)


def _add_weights(commands: Any) -> None:
    add = commands.add_parser("weights", help="published weights: which there are, which are found; or fetch them")
    add.add_argument("--json", action="store_true", help="as JSON")
    add.add_argument("--hash", action="store_true", help="the sha256 of files that were not fetched by arbench, too")
    add.set_defaults(run=_weights)
    fetch = add.add_subparsers(metavar="fetch").add_parser("fetch", help="download what a preset needs")
    fetch.add_argument("preset", metavar="PRESET", help="imagenet256-d16, or ear/imagenet256-b for one method alone")
    fetch.set_defaults(run=_fetch)


def _list(asked: argparse.Namespace) -> None:
    from harness.listing import in_words, methods  # late: --help needs no torch

    print(json.dumps(methods(), indent=1) if asked.json else in_words(methods()))


def _export(asked: argparse.Namespace) -> None:
    from harness.store import Store

    kind = asked.out.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ArbenchError(f"--out {asked.out}: a file's name ends in .csv or .parquet")
    table = Store(asked.store).must_exist().table()
    try:
        if kind == ".csv":
            table.to_csv(asked.out, index=False)
        else:
            table.to_parquet(asked.out, index=False)
    except ImportError as error:
        raise ArbenchError("Parquet needs the package pyarrow (pip install pyarrow); .csv needs nothing") from error
    except OSError as error:
        raise ArbenchError(f"cannot write {asked.out}: {error.strerror or error}") from error
    print(f"{len(table)} records written to {asked.out}")


def _flops(asked: argparse.Namespace) -> None:
    from harness import registry
    from harness.costs import costs, in_words, parse_settings
    from harness.trial import resolve_sampling

    owner = registry.get(asked.method)
    preset = owner.preset_named(asked.preset)
    knobs, settings = parse_settings(owner, asked.set)
    sampling = resolve_sampling(preset.sampling, settings)
    found = costs(owner, asked.preset, owner.resolve(knobs, asked.preset), sampling, asked.check)
    print(json.dumps(found, indent=1) if asked.json else in_words(found, asked.steps))


def _counters(asked: argparse.Namespace) -> int:
    from harness import agreement, registry

    rows = agreement.table(asked.methods or registry.names())
    print(agreement.in_words(rows))
    return int(any(row.apart > agreement.MOST for row in rows))


def _weights(asked: argparse.Namespace) -> None:
    from harness.listing import weights, weights_in_words

    found = weights(asked.hash)
    print(json.dumps(found, indent=1) if asked.json else weights_in_words(found))


def _fetch(asked: argparse.Namespace) -> None:
    from harness.fetching import fetch_preset

    fetch_preset(asked.preset)


if __name__ == "__main__":  # `python -m arbench` is the same, and makes sure of all our packages
    sys.exit(main())
