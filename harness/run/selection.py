"""Which trials of a sweep are run, and with which weights: ``--only`` and ``--checkpoint`` of ``run`` and
``verify``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from harness import registry
from harness.errors import ArbenchError
from harness.hashing import file_sha256
from harness.setup import own_weights
from harness.sweep import Sweep
from harness.trial import Trial

SHOWN = 40
"""An error lists at most so many names of trials."""
Checkpoints = Mapping[tuple[str, str], Path]
"""(method, preset) -> the file that replaces the preset's weights; preset "" means all presets of the method."""
Named = TypeVar("Named")


def only(patterns: Sequence[str], among: Sequence[Named], name: Callable[[Named], str]) -> list[Named]:
    """The items of ``among`` that at least one pattern selects; all items if there are no patterns.

    Each item belongs to one trial. ``name`` is called with an item and returns the canonical name of the item's trial.
    A pattern selects an item if the pattern fits this canonical name or the name of the trial's method.

    ``*`` and ``?`` have the same meaning as in a shell. A bracket has no special meaning, since names contain brackets.
    Raises ArbenchError for a pattern that selects no item; the error lists methods and trials.
    """
    if not patterns:
        return list(among)
    for pattern in patterns:
        if not any(_matches(pattern, name(one)) for one in among):
            known = list(dict.fromkeys(name(one) for one in among))
            methods = ", ".join(dict.fromkeys(one.partition("[")[0] for one in known))
            more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
            listed = "; ".join(known[:SHOWN])
            raise ArbenchError(f"--only {pattern!r} matches no trial (methods: {methods}; trials: {listed}{more})")
    return [one for one in among if any(_matches(pattern, name(one)) for pattern in patterns)]


def _matches(pattern: str, name: str) -> bool:
    literal = pattern.replace("[", "[[]")
    return fnmatchcase(name, literal) or fnmatchcase(name.partition("[")[0], literal)


def only_of(sweep: Sweep, patterns: Sequence[str]) -> Sweep:
    """The sweep with the trials that ``only`` selects."""
    places = only(patterns, range(len(sweep.trials)), lambda place: sweep.trials[place].name)
    cluster = tuple(sweep.cluster[place] for place in places) if sweep.cluster else ()
    return replace(sweep, trials=tuple(sweep.trials[place] for place in places), cluster=cluster)


def parse_checkpoints(given: Iterable[str]) -> Checkpoints:
    """Parse several texts METHOD=FILE or METHOD/PRESET=FILE.

    Raises ArbenchError for a text of another form, an unknown method or preset, a method without weights, a file that
    cannot be read, and two files for the same weights.
    """
    found: dict[tuple[str, str], Path] = {}
    for text in given:
        named, equals, file = text.partition("=")
        method, _, preset = named.partition("/")
        if not equals or not method or not file:
            raise ArbenchError(f"--checkpoint {text!r} is not METHOD=FILE or METHOD/PRESET=FILE")
        owner = registry.get(method)
        if preset:
            owner.preset_named(preset)
        if not any(owner.weight_files(one) for one in ([preset] if preset else owner.presets)):
            raise ArbenchError(f"--checkpoint {text!r}: method {method!r} has no weights that a file could replace")
        if (method, preset) in found:
            raise ArbenchError(f"--checkpoint: {named} is given twice")
        path = Path(file).absolute()
        if not path.is_file():
            raise ArbenchError(f"--checkpoint {text!r}: {'no file' if path.exists() else 'there is no file'} {file}")
        file_sha256(path)
        found[method, preset] = path
    return found


def checkpoint_of(trial: Trial, checkpoints: Checkpoints) -> Path | None:
    """The file that replaces a trial's weights, or None."""
    if trial.setup.weights == "random":
        return None
    return checkpoints.get((trial.method, trial.preset), checkpoints.get((trial.method, "")))


def on_own_weights(trials: Sequence[Trial], checkpoints: Checkpoints) -> tuple[Trial, ...]:
    """The trials, with checkpoints applied. If a checkpoint replaces a trial's weights, the setup of the trial contains
    the beginning of the checkpoint file's sha256. The trial's name and key depend on the setup, so they depend on
    the file, too. Raises ArbenchError for a checkpoint that replaces the weights of no trial."""
    unused = dict(checkpoints)
    changed = []
    for trial in trials:
        path = checkpoint_of(trial, checkpoints)
        if path is not None:
            for key in ((trial.method, trial.preset), (trial.method, "")):
                if checkpoints.get(key) == path:
                    unused.pop(key, None)
            trial = replace(trial, setup=replace(trial.setup, weights=own_weights(file_sha256(path))))
        changed.append(trial)
    if unused:
        method, preset = next(iter(unused))
        kinds = ", ".join(dict.fromkeys(f"{trial.method}/{trial.preset}" for trial in trials))
        what = f"{method}/{preset}" if preset else method
        raise ArbenchError(f"--checkpoint {what}=...: no trial is of it (there are trials of {kinds})")
    return tuple(changed)
