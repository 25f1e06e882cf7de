"""How a page of the site is made: sheets from modules, templates around them, data beside them as scripts.

A page is a module with ``sheets(site, out)``, listed in ``reports.build.PAGES``; its template extends base.html. What
its script reads lies in data/*.js, since a page opened from disk may load scripts but not fetch files.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from reports.site import Site

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Sheet:
    """One HTML file. file: its name, in the site's folder; template: of reports/templates; content: what that takes;
    nav: its name in the navigation, "" for none; scripts: files, relative to the site's folder, in their order."""

    file: str
    title: str
    template: str
    content: Mapping[str, Any] = field(default_factory=dict)
    nav: str = ""
    scripts: Sequence[str] = ()


Page = Callable[[Site, Path], Iterable[Sheet]]
"""(site, folder of the site) -> its sheets. It may write files of its own below the folder."""


def write(sheets: Sequence[Sheet], out: Path, note: str = "") -> None:
    """Write the sheets into a folder, each with the navigation of all, and a note at the top if there is one."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    navigation = [(sheet.file, sheet.nav) for sheet in sheets if sheet.nav]
    for sheet in sheets:
        shell = {
            "navigation": navigation,
            "file": sheet.file,
            "title": sheet.title,
            "scripts": sheet.scripts,
            "note": note,
        }
        text = env.get_template(sheet.template).render({**sheet.content, **shell})
        (out / sheet.file).write_text(text, encoding="utf-8")


def write_data(out: Path, name: str, value: Any) -> str:
    """Write plain values as a script, data/NAME.js, that hands them over as ``arbench.data[NAME]``; returns its path in
    the site. Numbers that are not finite become null. The script is safe wherever it is pasted."""
    path = f"data/{name}.js"
    text = f"arbench.data[{_literal(name)}]=JSON.parse({_literal(_json(value))});\n"
    (out / path).write_text(text, encoding="utf-8")
    return path


def _json(value: Any) -> str:
    """Plain values as JSON, without any character that HTML could take for its own."""
    compact = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)  # ASCII: no U+2028
    try:
        text = compact.encode(value)
    except ValueError:  # the rare value with a number that is not finite is worth a second try
        text = compact.encode(_finite(value))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _literal(text: str) -> str:
    """A JavaScript string. Values are parsed from one: an object literal would take a name like __proto__ for more than
    a name, and browsers parse JSON faster."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value
