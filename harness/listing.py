"""What ``arbench list`` shows: the registered methods, their presets and knobs."""

from dataclasses import asdict
from typing import Any

from harness import registry
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
            word: {"data": preset.data, "sampling": asdict(preset.sampling)} for word, preset in owner.presets.items()
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
