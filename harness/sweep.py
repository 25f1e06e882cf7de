"""Sweep files: TOML files that say which trials are to be run. A trial is one method with fixed settings. The trials of
a sweep have a stable order and no duplicates.

The example below is a sweep file. A block is a table with the name of a method, such as ``[method.var]``; it asks for
trials of this method. The head is everything before the first block; it holds settings for all blocks. Some values are
lists. Where the example says "crossed", every combination of the lists' values gives a trial.

preset = "fmnist"            # required; a block can name another preset
images = 5000                # the rest of the head is optional: these are the defaults
seed = 0                     # or a list of seeds
extractor = "fmnist-cnn"     # computes features for scores; default: fmnist-cnn for fmnist, inception for other data
[sampling]                   # for every method; lists are crossed
cfg = [1.5, 2.0]
[setup]                      # precision, labels, uint8, weights, tf32 (harness/setup.py); lists are crossed as well
precision = "bf16"
compute_batch = 32           # images that are computed at once; default: the preset's
[timing]                     # the timing protocol (harness/stages/timing/stage.py)
max_rounds = 100
capture = "auto"             # or "off", "graph", "compile": how methods run, the same for all (docs/measuring.md)
[cluster]                    # overrides the site file (harness/cluster/site.py)
time = "2:00:00"

[method.var]                 # a block: all its parts are optional
[[method.ear]]               # several blocks of one method
knobs = { schedule = "rings" }           # fixed knobs
grid = { steps = [4, 7, 13] }            # all values are crossed
list = [{ adaptive = 0.5 }, {}]          # sets of knobs; each set is crossed with the grid
sampling = { cfg = 2.0 }                 # overrides the head's sampling; setup can be given here as well
cluster = { memory = "64G" }             # overrides the site file and the head's [cluster] for the trials of this block
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import ArbenchError, shown, unknown
from harness.extractors import by_name
from harness.hashing import digest
from harness.numbers import checked_int
from harness.stages.timing.protocol import Protocol, protocol
from harness.trial import Trial

BUNDLED = Path(__file__).parent / "sweeps"
HEAD = {
    "preset": str,
    "images": int,
    "seed": (int, list),
    "extractor": str,
    "sampling": dict,
    "setup": dict,
    "timing": dict,
    "cluster": dict,
    "method": dict,
}
BLOCK = {
    "preset": str,
    "seed": (int, list),
    "knobs": dict,
    "grid": dict,
    "list": list,
    "sampling": dict,
    "setup": dict,
    "cluster": dict,
}
MOST_TRIALS = 100_000
"""Maximum number of trials of one block."""
IN_WORDS = {
    str: "a string",
    int: "a whole number",
    dict: "a table",
    list: "a list",
    (int, list): "a whole number or a list",
}


@dataclass(frozen=True)
class Sweep:
    """The content of a sweep file."""

    name: str
    trials: tuple[Trial, ...]
    extractor: str = ""  # name of the extractor; empty for the usual extractor of the data
    timing: Protocol = field(default_factory=Protocol)
    # For each trial, two tables that override the site file: the table in the head, and then the table in the trial's
    # block.
    cluster: tuple[tuple[Mapping[str, Any], ...], ...] = ()


def load(path: Path, images: int | None = None, setup: Mapping[str, Any] | None = None) -> Sweep:
    """Read the sweep file ``path``. If there is no such file, ``path`` can be the name of a bundled sweep, such as
    ``fmnist``. ``images`` and ``setup`` override the file's values.

    Raises ArbenchError if the file has a fault. The message names the file, the table and the key.
    """
    bundled = sorted(file.stem for file in BUNDLED.glob("*.toml"))
    try:
        if not path.is_file() and str(path) in bundled:  # a folder of that name, perhaps a store, is no sweep
            path = BUNDLED / f"{path}.toml"
        elif path.is_dir():
            raise ArbenchError(f"{path} is a folder, no sweep file (bundled sweeps: {', '.join(bundled)})")
        elif not path.exists():
            raise ArbenchError(f"cannot read sweep file {path}: no such file (bundled sweeps: {', '.join(bundled)})")
    except OSError as error:  # a parent folder that may not be read, or a name that is too long
        raise ArbenchError(f"cannot read sweep file {path}: {error.strerror}") from error
    content = files.read_toml(path, "sweep file")
    return parse(content, str(path), images, setup)


def parse(
    content: Mapping[str, Any], source: str, images: int | None = None, setup: Mapping[str, Any] | None = None
) -> Sweep:
    """The sweep that a file's content describes.

    source: the file's path, for error messages. The file's name without its suffix becomes the sweep's name.
    """
    _check(content, HEAD, f"{source}: top level")
    content = {**content, **({} if images is None else {"images": images})}
    blocks = content.get("method", {})
    if not blocks:
        raise ArbenchError(f"{source}: no [method.NAME] table: the sweep holds no trial")
    found: dict[str, tuple[Trial, tuple[Mapping[str, Any], ...]]] = {}
    for method, value in blocks.items():
        several = isinstance(value, list)
        for number, block in enumerate(value if several else [value], start=1):
            where = f"{source}: [[method.{method}]] number {number}" if several else f"{source}: [method.{method}]"
            if not isinstance(block, dict):
                raise ArbenchError(f"{where}: expected a table, got {shown(block)}")
            _check(block, BLOCK, where)
            changed = {**block, "setup": {**block.get("setup", {}), **(setup or {})}}
            cluster = content.get("cluster", {}), block.get("cluster", {})
            for trial in _block(method, content, changed, where):
                found.setdefault(digest(trial.settings()), (trial, cluster))
    return Sweep(
        name=Path(source).stem,
        trials=tuple(trial for trial, _ in found.values()),
        extractor=by_name.known(content["extractor"], source) if content.get("extractor") else "",
        timing=protocol(content.get("timing", {}), source),
        cluster=tuple(cluster for _, cluster in found.values()),
    )


def _block(method: str, head: Mapping[str, Any], block: Mapping[str, Any], where: str) -> Iterator[Trial]:
    """The trials of one block, in the order of nested loops. From the outermost loop to the innermost, the loops go
    over the seeds, the setups, the sampling settings, the list of knob sets, and the points of the knob grid."""
    preset = block.get("preset", head.get("preset"))
    if preset is None:
        raise ArbenchError(f"{where}: key 'preset' is missing (here or at the top level)")
    seeds = block.get("seed", head.get("seed", 0))
    sampling = {**head.get("sampling", {}), **block.get("sampling", {})}
    setup = {**head.get("setup", {}), **block.get("setup", {})}
    for name, values in block.get("grid", {}).items():
        if not isinstance(values, list):
            raise ArbenchError(f"{where}: key 'grid.{name}' must be a list, got {shown(values)}")
    points = block.get("list", [{}])
    for number, point in enumerate(points, start=1):
        if not isinstance(point, dict):
            raise ArbenchError(f"{where}: key 'list', entry {number} must be a table of knobs, got {shown(point)}")
    empty = [f"grid.{name}" for name, values in block.get("grid", {}).items() if not values]
    empty += [f"sampling.{name}" for name, value in sampling.items() if value == []]
    empty += [f"setup.{name}" for name, value in setup.items() if value == []]
    empty += [name for name, value in (("list", points), ("seed", seeds)) if value == []]
    if empty:
        raise ArbenchError(f"{where}: key '{empty[0]}' is an empty list: no trial would come of it")
    fixed = block.get("knobs", {})
    _must_end(where, [seeds, points, *setup.values(), *sampling.values(), *block.get("grid", {}).values()])
    for seed, made, drawn, point, crossed in itertools.product(
        seeds if isinstance(seeds, list) else [seeds],
        _crossed(setup),
        _crossed(sampling),
        points,
        _crossed(block.get("grid", {})),
    ):
        _once(where, fixed, point, crossed)
        try:
            images = checked_int("images", head.get("images", 5000), 1, 10**9)
            yield Trial.of(method, preset, {**fixed, **point, **crossed}, drawn, seed, images, made)
        except ArbenchError as error:
            raise ArbenchError(f"{where}: {error}") from error


def _crossed(axes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the axes' values, in the order of nested loops: the innermost loop goes over the last axis.
    A value that is not a list counts as a list with one value."""
    lists = [value if isinstance(value, list) else [value] for value in axes.values()]
    for values in itertools.product(*lists):
        yield dict(zip(axes, values, strict=True))


def _must_end(where: str, axes: Iterable[Any]) -> None:
    """Raises ArbenchError if a block asks for more than MOST_TRIALS trials: so many must be a mistake.

    axes: the lists of values that are crossed. A value that is not a list counts as a list with one value.
    """
    count = prod(len(axis) for axis in axes if isinstance(axis, list))
    if count > MOST_TRIALS:
        raise ArbenchError(f"{where}: {shown(count)} trials would come of it (valid: up to {MOST_TRIALS})")


def _once(where: str, *tables: Mapping[str, Any]) -> None:
    """Raises ArbenchError if a knob is given in more than one of the tables ``knobs``, ``list`` and ``grid``. It would
    then not be clear which value holds."""
    for (one, first), (two, second) in itertools.combinations(zip(("knobs", "list", "grid"), tables, strict=True), 2):
        for name in first.keys() & second.keys():
            raise ArbenchError(f"{where}: knob {name!r} is given both in '{one}' and in '{two}'")


def _check(table: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> None:
    """Raises ArbenchError if a key of the table is unknown, or if a value does not have the type that the schema gives
    for its key."""
    for key, value in table.items():
        if key not in schema:
            raise ArbenchError(f"{where}: {unknown('key', key, schema)}")
        if isinstance(value, bool) or not isinstance(value, schema[key]):
            raise ArbenchError(f"{where}: key {key!r} must be {IN_WORDS[schema[key]]}, got {shown(value)}")
