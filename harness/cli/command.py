"""The ``arbench`` command.

Packages add sub-commands through the entry-point group ``arbench.commands``. An entry point names a function that takes
argparse's subparsers. This function adds a parser to the subparsers, and calls ``set_defaults(run=...)`` of the new
parser. The value of ``run`` is the function that carries out the sub-command: it takes the parsed arguments and returns
an exit code (or None for 0).

Exit codes: 0 success; 1 some trials failed; 2 something the user can mend; 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from harness.cli import cluster, environment, exchange, methods, records, run, score, streams, weights
from harness.errors import ArbenchError, one_line
from harness.machine.cores import heed_quota
from harness.plugins.points import whence

GROUP = "arbench.commands"


def main(arguments: Sequence[str] | None = None) -> int:
    """The console command: parse the arguments, and run the sub-command that they name. Returns the exit code. An error
    that the user can mend is printed as one line."""
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
    """The whole command line, with the sub-commands that other packages add."""
    whole = argparse.ArgumentParser(
        prog="arbench", description="Measures image generators: fidelity against real cost."
    )
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    for group in (methods, weights, run, cluster, score, records, exchange, environment):
        group.add(commands)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            point.load()(commands)
        except ImportError as error:
            what = f"sub-command {point.name!r} ({point.value})"
            print(f"arbench: {what} is left out: {error}{whence(point)}", file=sys.stderr)
    return whole
