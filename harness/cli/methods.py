"""The commands about methods: ``list``, ``flops``, ``counters``, ``check``."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from harness.errors import ArbenchError


def add(commands: Any) -> None:
    """Add ``list``, ``flops``, ``counters`` and ``check`` to the commands of arbench."""
    _add_list(commands)
    _add_flops(commands)
    _add_counters(commands)
    add = commands.add_parser("check", help="the conformance suite on the methods of an installed package")
    add.add_argument("package", metavar="PACKAGE", help="name of the distribution or of its module")
    add.set_defaults(run=_check)


def _add_list(commands: Any) -> None:
    add = commands.add_parser("list", help="methods, their presets and knobs")
    add.add_argument("--json", action="store_true", help="as JSON")
    add.set_defaults(run=_list)


def _add_flops(commands: Any) -> None:
    add = commands.add_parser("flops", help="parameters, MACs, FLOPs and bytes of a preset, without weights")
    add.add_argument("method", metavar="METHOD")
    add.add_argument("--preset", required=True, metavar="P")
    add.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a knob or a sampling setting (cfg=1: no guidance); as often as need be",
    )
    add.add_argument("--precision", metavar="P", help="count bytes in fp32 or bf16 (default: the preset's precision)")
    add.add_argument(
        "--rates",
        nargs=2,
        type=float,
        metavar=("TB/S", "TFLOP/S"),
        help="a device's memory bandwidth and matrix rate: show the floors at batch 1 and 64, too",
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


def methods() -> list[dict[str, Any]]:
    """A dictionary of plain values for each method.

    If a method cannot be imported, its dictionary has only the keys ``name`` and ``error``.
    """
    from harness import registry  # late: --help needs no torch

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
    """The dictionaries that ``methods`` returns, as text for a terminal."""
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


def _list(asked: argparse.Namespace) -> None:

    print(json.dumps(methods(), indent=1) if asked.json else in_words(methods()))


def _flops(asked: argparse.Namespace) -> None:
    from harness import registry
    from harness.stages.flops.costs import costs, floors_of, in_words, parse_settings
    from harness.trial import resolve_sampling

    owner = registry.get(asked.method)
    preset = owner.preset_named(asked.preset)
    knobs, settings = parse_settings(owner, asked.set)
    sampling = resolve_sampling(preset.sampling, settings)
    precision = (preset.setup.but({"precision": asked.precision}) if asked.precision else preset.setup).precision
    found = costs(owner, asked.preset, owner.resolve(knobs, asked.preset), sampling, asked.check, precision)
    if asked.rates:
        found["floors"] = floors_of(found, *(1e12 * rate for rate in asked.rates))
    print(json.dumps(found, indent=1) if asked.json else in_words(found, asked.steps))


def _counters(asked: argparse.Namespace) -> int:
    from harness import registry
    from harness.stages.flops import agreement

    rows = agreement.table(asked.methods or registry.names())
    print(agreement.in_words(rows))
    return int(any(row.apart > agreement.MOST for row in rows))


def _check(asked: argparse.Namespace) -> int:
    from harness.conformance.check import check  # late: --help needs no torch

    return check(asked.package)
