"""What ``arbench list`` and ``arbench weights`` show: the registered methods, their presets, knobs and weights."""

import json
from dataclasses import asdict
from typing import Any

from harness import registry
from harness.checkpoint import sha256
from harness.errors import ArbenchError


def methods() -> list[dict[str, Any]]:
    """One entry a method, plain values. A method that cannot be imported has ``error`` in place of all but its name."""
    found: list[dict[str, Any]] = []
    for name in registry.names():
        try:
            owner = registry.get(name)
        except ArbenchError as error:
            found.append({"name": name, "error": str(error)})
            continue
        about = {word: getattr(owner, word) for word in ("name", "title", "family", "paper", "differences")}
        presets = {
            word: {
                "data": preset.data,
                "sampling": asdict(preset.sampling),
                "knobs": {knob.name: {"default": knob.default, "valid": knob.valid()} for knob in preset.knobs},
            }
            for word, preset in owner.presets.items()
        }
        knobs = [{**asdict(knob), "valid": knob.valid()} for knob in owner.knobs]
        found.append({**about, "presets": presets, "knobs": knobs})
    return found


def in_words(found: list[dict[str, Any]]) -> str:
    """The same for a terminal."""
    lines: list[str] = []
    for one in found:
        if "error" in one:
            lines.append(f"{one['name']}: {one['error']}")
            continue
        origin = f"{one['family']}; {one['paper'] or 'no paper'}"
        lines.append(f"{one['name']}: {one['title']} ({origin}); presets: {', '.join(one['presets'])}")
        for knob in one["knobs"]:
            axis = ", an axis" if knob["axis"] else ""
            lines.append(
                f"    {knob['name']}: {knob['help']} (valid: {knob['valid']}; default {knob['default']}{axis})"
            )
    return "\n".join(lines)


def weights(hashes: bool = False) -> list[dict[str, Any]]:
    """One entry a file of a preset: ``method``, ``preset``, ``file``, ``source`` (None if it is bundled or nowhere to
    be had), ``pinned`` (whether that is one commit; None without a source), ``path``, ``found``, and ``sha256``: as
    noted when it was fetched, computed if ``hashes``, else None."""
    rows: list[dict[str, Any]] = []
    for name in registry.names():
        try:
            owner = registry.get(name)
        except ArbenchError:  # `arbench list` tells why
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


def weights_in_words(rows: list[dict[str, Any]]) -> str:
    """The same for a terminal."""
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
