"""Makes the pages of the site. A page has a module for its content, a template for its HTML, and scripts for its data.

The module has a function ``sheets(site, out)``, which is listed in ``reports.build.PAGES``. The template extends
base.html. The data are stored as scripts, data/*.js. The reason is that a page can be opened from disk. Browsers then
allow the page to load scripts, but not to fetch files.
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
    """One HTML file."""

    file: str  # name of the file in the site's folder
    title: str
    template: str  # name of the template in reports/templates
    content: Mapping[str, Any] = field(default_factory=dict)  # names in the template -> their values
    nav: str = ""  # name of the page in the navigation, "" for none
    scripts: Sequence[str] = ()  # files relative to the site's folder, in the order in which they are loaded


Page = Callable[[Site, Path], Iterable[Sheet]]
"""Function (site, folder of the site) -> sheets of a page. It may also write other files below the folder."""


def write(sheets: Sequence[Sheet], out: Path, note: str = "") -> None:
    """Write the sheets into a folder. Each sheet has links to all pages. A note, if given, stands at the top."""
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
    """Write plain values as a script, data/NAME.js, that stores them in ``arbench.data[NAME]``.

    Returns the script's path in the site. Numbers that are not finite become null. No value in the script can be
    mistaken for HTML or code.
    """
    path = f"data/{name}.js"
    text = f"arbench.data[{_literal(name)}]=JSON.parse({_literal(_json(value))});\n"
    (out / path).write_text(text, encoding="utf-8")
    return path


def _json(value: Any) -> str:
    """Plain values as JSON, without any character that HTML could take for markup."""
    compact = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)  # ASCII: no U+2028
    try:
        text = compact.encode(value)
    except ValueError:  # numbers that are not finite are rare: they are replaced only if there are any
        text = compact.encode(_finite(value))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _literal(text: str) -> str:
    """The text as a JavaScript string literal.

    Scripts hold data as a string of JSON, not as an object literal, for two reasons. In an object literal, a name like
    __proto__ has a special meaning. Also, browsers parse JSON faster than object literals.
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value
