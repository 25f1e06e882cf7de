"""The pages of methods: one lists all methods, and each method has a page with its costs, decode order and sparsity."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.traces import TRACE, kept
from reports import figures, images, leaderboard, papers, table
from reports.leaderboard import about_method
from reports.names import safe
from reports.sheets import Sheet, write_data
from reports.site import Site, short

COSTS_SHOWN = 12
"""The greatest number of settings for which a method's page draws the cost by part."""
TRACES_SHOWN = 8
"""The greatest number of settings, beside the best one, for which a method's page shows a trace (harness.traces)."""
SCRIPTS = ("data/leaderboard.js", "static/rows.js", "static/plotly.min.js", "static/charts.js", "static/method.js")


def sheets(site: Site, out: Path) -> Iterator[Sheet]:
    """The pages methods.html and method-NAME.html. Also writes the traces that the pages show to data/."""
    listed = [_about(site, name) for name in site.looks]
    content = {
        "methods": listed,
        "tokenizers": site.facts.get("tokenizers") or {},
        "fid": site.fid,
        "figure": table.figure,
        "classes": images.labels(str(site.rows["data"].iloc[0])),
        "real": (out / "images" / "real.webp").exists(),
    }
    yield Sheet("methods.html", "Methods", "methods.html", content, "Methods")
    for about in listed:
        name = about["name"]
        data = write_data(out, f"method-{safe(name)}", {"name": name, **_costs(site, name), **_traced(site, name, out)})
        scripts = ("data/shared.js", "static/trial.js", data, *SCRIPTS)
        yield Sheet(f"method-{safe(name)}.html", about["title"], "method.html", {"about": about}, "", scripts)


def _about(site: Site, name: str) -> dict[str, Any]:
    own = [record for record in site.records.values() if record["trial"]["method"] == name]
    about = about_method(site, name)
    sizes: Mapping[str, Any] = next((record["parameters"] for record in own if record.get("parameters")), {})
    status = Counter(record["status"] for record in own)
    best = site.board[site.board["method"] == name]
    paper = str(about.get("paper", ""))
    return {
        "name": name,
        "title": str(about.get("title", name)),
        "family": about.get("family", ""),
        "paper": paper,
        "link": papers.link(paper),
        "bibtex": papers.bibtex(paper),
        "differences": about.get("differences", ""),
        "network": table.figure(sizes.get("network")),
        "tokenizer": table.figure(sizes.get("tokenizer")),
        "done": status["done"],
        "failed": sum(status.values()) - status["done"],
        "page": f"method-{safe(name)}.html",
        "icon": f"figures/{figures.key_file(name)}",
        "knobs": _knobs(own),
        "image": "" if best.empty else site.images[best["key"].iloc[0]].get("file", ""),
        "best": "" if best.empty else short(best["key"].iloc[0]),
        "settings": "" if best.empty else best["settings"].iloc[0],
    }


def _knobs(records: list[Any]) -> list[tuple[str, str, str]]:
    """One tuple (name, help text, measured values) for each knob.

    The help text is taken from the installed method. It is "" if the method is not installed or lacks the knob.
    """
    values: dict[str, set[Any]] = {}
    for record in records:
        for name, value in record["trial"]["knobs"].items():
            values.setdefault(name, set()).add(value)
    helps = _helps(str(records[0]["trial"]["method"])) if records else {}
    return [(name, helps.get(name, ""), _listed(found)) for name, found in values.items()]


def _helps(method: str) -> Mapping[str, str]:
    """The knobs of a method: name of a knob -> its help text. Empty if the method is not installed."""
    from harness import registry

    try:
        return {
            knob.name: f"{knob.help} ({knob.valid()}; default {knob.default})" for knob in registry.get(method).knobs
        }
    except Exception:  # a stranger's package may be absent or broken: its records are shown all the same
        return {}


def _listed(values: set[Any]) -> str:
    numbers = sorted(value for value in values if isinstance(value, int | float))
    return ", ".join(
        [*(f"{value:g}" for value in numbers), *sorted(value for value in values if isinstance(value, str))]
    )


def _costs(site: Site, name: str) -> dict[str, Any]:
    """The multiply-accumulate operations (MACs) in each part of a method, in millions.

    The MACs are given for at most ``COSTS_SHOWN`` settings. The settings are spread evenly over the rows of the method
    in ``site.tuned``, which has each setting at its best guidance.
    """
    own = site.tuned[site.tuned["method"] == name]
    found = []
    for row in table.dicts(_spread(own, COSTS_SHOWN)):
        parts = (site.records[row["key"]].get("flops") or {}).get("by_part") or {}
        if parts:
            rounded = {part: leaderboard.rounded(macs / 1e6) for part, macs in parts.items()}
            found.append({"key": short(row["key"]), "settings": row["settings"], "parts": rounded})
    return {"costs": found}


def _spread(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most ``most`` rows, spread evenly from the first to the last."""
    if len(rows) <= most:
        return rows
    return rows.iloc[np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _traced(site: Site, name: str, out: Path) -> dict[str, Any]:
    """Write traces of a method's settings to data/trace-KEY.js; returns the settings that have a trace.

    A trace says at which step each position was decided (harness.traces).
    """
    own = site.tuned[site.tuned["method"] == name]
    best = own[own["key"].isin(site.board["key"])]
    found = []
    for row in table.dicts(pd.concat([best, _spread(own, TRACES_SHOWN)]).drop_duplicates("key")):
        arrays = site.store.arrays(dict(site.records[row["key"]]), lambda name: name.startswith(TRACE))
        trace = _trace(kept(arrays))
        if trace:
            write_data(out, f"trace-{short(row['key'])}", trace)
            found.append({"key": short(row["key"]), "settings": row["settings"]})
    return {"traces": found}


def _trace(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The arrays of a trace (harness.traces), turned into lists for the page's script.

    Returns {} if the arrays are not a trace, or if their numbers of positions do not agree.
    """
    named = {name.removeprefix(TRACE): values for name, values in arrays.items()}
    grids, order = named.get("grids"), named.get("order")
    if grids is None or order is None or order.ndim != 2 or int((grids.astype(int) ** 2).sum()) != order.shape[1]:
        return {}
    found = {"grids": grids.tolist(), "order": order.tolist()}
    if "tokens" in named:
        found["tokens"] = named["tokens"].tolist()
    if "experts" in named and "experts_of" in named:
        found |= {"experts": named["experts"].tolist(), "experts_of": int(named["experts_of"])}
    return found
