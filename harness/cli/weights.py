"""The commands about weights: ``weights`` lists files of weights, ``weights fetch`` downloads the files of a preset."""

import argparse
import json
from pathlib import Path
from typing import Any

from harness.checkpoints.published import Source, place
from harness.errors import ArbenchError, unknown
from harness.hashing import sha256


def add(commands: Any) -> None:
    """Add ``weights`` and ``weights fetch`` to the commands of arbench."""
    add = commands.add_parser("weights", help="published weights: which there are, which are found; or fetch them")
    add.add_argument("--json", action="store_true", help="as JSON")
    add.add_argument("--hash", action="store_true", help="the sha256 of files that were not fetched by arbench, too")
    add.set_defaults(run=_weights)
    fetch = add.add_subparsers(metavar="fetch").add_parser("fetch", help="download what a preset needs")
    fetch.add_argument("preset", metavar="PRESET", help="imagenet256-d16, or ear/imagenet256-b for one method alone")
    fetch.set_defaults(run=_fetch)


def listed(hashes: bool = False) -> list[dict[str, Any]]:
    """A dictionary for each weight file of each preset, with these keys:

    method, preset: names of the method and of the preset
    file, path: name and full path of the file
    source: repository@revision; None if the file is bundled or not published
    pinned: whether the source is one commit; None without a source
    found: whether the file is there
    sha256: the hash that was noted when the file was fetched. Without such a note, it is the hash of the file if
        ``hashes`` is true and the file is there; otherwise None.
    """
    from harness import registry  # late: --help needs no torch

    rows: list[dict[str, Any]] = []
    for name in registry.names():
        try:
            owner = registry.get(name)
        except ArbenchError:  # `arbench list` says why
            continue
        for preset in owner.presets:
            sources = owner.weight_sources(preset)
            for path in owner.weight_files(preset):
                source = sources.get(path.name)
                note, found = path.with_name(f"{path.name}.json"), path.is_file()
                known = json.loads(note.read_text())["sha256"] if found and note.is_file() else None
                rows.append(
                    {
                        "method": name,
                        "preset": preset,
                        "file": path.name,
                        "source": f"{source.repository}@{source.revision}" if source else None,
                        "pinned": source.pinned if source else None,
                        "path": str(path),
                        "found": found,
                        "sha256": known or (sha256(path) if hashes and found else None),
                    }
                )
    return rows


def in_words(rows: list[dict[str, Any]]) -> str:
    """The dictionaries that ``listed`` returns, as text for a terminal."""
    lines: list[str] = []
    before = None
    for row in rows:
        owner = f"{row['method']}/{row['preset']}"
        lines += [] if owner == before else [owner]
        before = owner
        origin = f" from {row['source']}{'' if row['pinned'] else ', unpinned'}" if row["source"] else ""
        state = f"in {row['path']}" if row["found"] else "missing" if origin else "missing, and not published"
        lines.append(f"    {row['file']}{origin}: {state}{', sha256 ' + row['sha256'] if row['sha256'] else ''}")
    return "\n".join(lines)


def sources(preset: str) -> dict[str, Source]:
    """Where the weight files of a preset are published, as a dict from file name to source.

    preset: ``METHOD/PRESET`` for the preset of one method, or ``PRESET`` for all methods that have this preset.

    Raises ArbenchError if there is no such preset, or if the preset has no published weights.
    """
    from harness import registry  # late: --help needs no torch

    wanted, _, name = preset.rpartition("/")
    found: dict[str, Source] = {}
    valid: set[str] = set()
    for method in [wanted] if wanted else registry.names():
        try:
            owner = registry.get(method)
        except ArbenchError:  # `arbench list` says why
            if wanted:
                raise
            continue
        valid |= set(owner.presets)
        if name in owner.presets:
            found |= owner.weight_sources(name)
    if name not in valid:
        raise unknown("preset", name, valid)
    if not found:
        raise ArbenchError(f"preset {preset} has no published weights")
    return found


def fetch_preset(preset: str) -> list[Path]:
    """Fetch the published files of a preset, except those that are there already.

    Returns the paths of all published files of the preset.
    """
    from harness.checkpoints.fetching import fetch

    paths = []
    for file, source in sources(preset).items():
        path = place(file)
        if path.is_file():
            print(f"{path}: there already")
        else:
            fetch(source, path)
        paths.append(path)
    return paths


def _weights(asked: argparse.Namespace) -> None:
    rows = listed(asked.hash)
    print(json.dumps(rows, indent=1) if asked.json else in_words(rows))


def _fetch(asked: argparse.Namespace) -> None:
    fetch_preset(asked.preset)
