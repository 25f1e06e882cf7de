"""Runs cases in processes of their own: what crashes, hangs or takes all memory ends one case only."""

import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import cli
from tests.corpus.cases import Case, Make, Outcome, Valid
from tests.corpus.readers import accepted

PATIENCE_S = 60
"""Seconds of processor time that a case may take; most take a twentieth of one."""
MEMORY = 3 * 2**30
"""Bytes that a case may take beyond those in use."""


class HungError(BaseException):
    """Nothing catches it on the way."""


def outcomes(
    makes: Sequence[tuple[str, Make]], valid: Valid, folder: Path, seed: str
) -> Iterator[tuple[str, Case | None, Outcome]]:
    """Make and run cases, each in an empty folder; the kind and what came of each. Started again after a crash."""
    place = 0
    while place < len(makes):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                _child(makes, place, valid, folder, seed, pipe)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            for line in pipe:
                case, outcome = _read(line)
                yield makes[place][0], case, outcome
                place += 1
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if place < len(makes):
            if status == 0:
                raise AssertionError("a process of the corpus ended early")
            yield makes[place][0], None, Outcome(None, fault=f"crashed: exit code {status}, case {place}")
            place += 1


def _child(
    makes: Sequence[tuple[str, Make]], first: int, valid: Valid, folder: Path, seed: str, pipe: io.TextIOBase
) -> None:
    limits()
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    for place in range(first, len(makes)):
        inside = folder / "case"
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir(parents=True)
        case = makes[place][1](random.Random(f"{seed} {place}"), inside, valid)
        outcome = run(case.command, inside)
        if outcome.code == 0 and not accepted(case.kind, inside):
            outcome = replace(outcome, refused=True)
        pipe.write(json.dumps([case.kind, case.what, list(case.command), _plain(outcome)]) + "\n")
        pipe.flush()


def limits() -> None:
    """No more memory than MEMORY beyond what is in use."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def run(command: Sequence[str], folder: Path) -> Outcome:
    """Run a command in this process; what came of it."""
    before = contents(folder)
    out, err = io.StringIO(), io.StringIO()
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    signal.signal(signal.SIGVTALRM, _hung)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_S)
    signal.signal(signal.SIGALRM, _hung)
    signal.alarm(5 * PATIENCE_S)
    code, fault = None, ""
    try:
        code = cli.main([str(word) for word in command])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except HungError:
        fault = f"hung: {_where()}"
    except MemoryError:
        fault = f"bomb: {_where()}"
    except BaseException:  # noqa: BLE001 - that is what is looked for
        fault = f"{traceback.format_exc().strip().splitlines()[-1]} ({_where()})"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.alarm(0)
        sys.stdout, sys.stderr = streams
    after = contents(folder)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return Outcome(code, tuple(err.getvalue().splitlines()), fault, tuple(changed))


def contents(folder: Path) -> dict[str, str]:
    """All below a folder, by path: files with their hash."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            mode = path.lstat().st_mode
            regular = not path.is_symlink() and path.is_file()
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if regular else str(mode)
    return found


def _hung(number: int, frame: Any) -> None:
    raise HungError


def _where() -> str:
    frames = traceback.extract_tb(sys.exc_info()[2])
    ours = [frame for frame in frames if "/harness/" in frame.filename or "/reports/" in frame.filename]
    return "; ".join(f"{Path(one.filename).name}:{one.lineno}" for one in ours[-3:])


def _plain(outcome: Outcome) -> list[Any]:
    return [outcome.code, list(outcome.lines), outcome.fault, list(outcome.changed), outcome.refused]


def _read(line: str) -> tuple[Case, Outcome]:
    kind, what, command, (code, lines, fault, changed, refused) = json.loads(line)
    return Case(kind, what, tuple(command)), Outcome(code, tuple(lines), fault, tuple(changed), refused)
