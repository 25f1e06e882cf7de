"""A process of the part ``same``: computes its share of the shards of all trials, those that are not there yet.

``python -m tests.programs.gpu.worker FOLDER SHARE OF --device D [--fake] [--die]`` writes each shard into a folder of
its trial, FOLDER/0, FOLDER/1 and so on. It takes every OF-th shard, beginning with number SHARE. A trial that breaks
does not cost the others theirs; exit code 1 if one did.

With ``--die``, the process kills itself in the middle of the first trial of each group in which one is to be killed: it
has written its first shard of this trial, and computes the second. Once it has, a file says so (``died``), and the
process that is started again goes on.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from harness import files
from harness.execution.modes import resolved
from harness.machine.devices import checked
from harness.stages.generate.shards import Shards
from harness.trial import Trial
from tests.programs.gpu.settings import FAKE, REAL, Settings
from tests.programs.gpu.trials import Maker, groups

DIES_S = 0.02
"""A process that is to be killed is killed so many seconds after it began its second shard."""


def shards_of(folder: Path, settings: Settings) -> Iterator[tuple[Trial, Shards]]:
    """All trials, with the shards that processes write."""
    trials = [trial for group in groups(settings) for trial in group.trials]
    for place, trial in enumerate(trials):
        yield trial, Shards(folder / str(place), trial.images, trial.setup.compute_batch)


def died(folder: Path, place: int) -> Path:
    """The file that says that a process was killed in the middle of the trial number ``place``."""
    return folder / f"died-{place}"


def mortal(settings: Settings) -> set[int]:
    """The numbers of the trials in which a process is killed."""
    found, place = set(), 0
    for group in groups(settings):
        if group.killed:
            found.add(place)
        place += len(group.trials)
    return found


def _dies(file: Path) -> None:
    """Leave the file, and be killed a moment later, while work is under way."""
    file.touch()
    threading.Timer(DIES_S, os.kill, (os.getpid(), signal.SIGKILL)).start()


def ranges(trial: Trial) -> list[range]:
    """The images of each shard of a trial: a compute batch."""
    size = trial.setup.compute_batch
    return [range(start, min(start + size, trial.images)) for start in range(0, trial.images, size)]


def main() -> int:
    """Compute what is missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("share", type=int)
    parser.add_argument("of", type=int)
    parser.add_argument("--device", required=True)
    parser.add_argument("--fake", action="store_true")
    parser.add_argument("--die", action="store_true")
    asked = parser.parse_args()
    settings, device = FAKE if asked.fake else REAL, checked(asked.device)
    faults = 0
    deadly = mortal(settings) if asked.die else set()
    for place, (trial, shards) in enumerate(shards_of(asked.folder, settings)):
        mine = [indices for indices in ranges(trial)[asked.share :: asked.of] if not shards.covers(indices)]
        if not mine:
            continue
        try:
            maker = Maker(trial, device, resolved(settings.capture, device))
            for turn, indices in enumerate(mine):
                if turn and place in deadly and not died(asked.folder, place).exists():
                    _dies(died(asked.folder, place))
                files.write_arrays(shards.path(indices), maker.shard(indices))
        except Exception as error:
            faults += 1
            print(f"{trial.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
