"""The page of trade-offs: any score against any cost, drawn by plotly in the browser and by matplotlib for print."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from reports import figures, table
from reports.figures import Drawn
from reports.sheets import Sheet
from reports.site import COSTS, Site

SCORES = ("fid", "is")
LIBRARY = "plotly.min.js"


def sheets(site: Site, out: Path) -> Iterator[Sheet]:
    """The page frontier.html. Also writes the plots for print to the folder figures/."""
    library = _library(out)
    content = {
        "tradeoffs": _tradeoffs(site, out / "figures"),
        "sparsities": _sparsities(site, out / "figures"),
        "fid": site.fid,
    }
    scripts = [library, "data/leaderboard.js", "static/rows.js", "static/charts.js", "static/explorer.js"]
    yield Sheet("frontier.html", "Frontier explorer", "frontier.html", content, "Frontier", scripts)


def _library(out: Path) -> str:
    """Copy plotly's script from plotly's Python package into the site; returns the path of the script in the site."""
    import plotly

    shutil.copyfile(Path(plotly.__file__).parent / "package_data" / LIBRARY, out / "static" / LIBRARY)
    return f"static/{LIBRARY}"


def _levels(site: Site, score: str) -> Mapping[str, float]:
    """The horizontal lines in the plots of a score: label of a line -> value of the score.

    For FID, each line is a floor: the FID of a tokenizer's reconstructions of the test images. For IS, the line is the
    ceiling: the IS of the test images.
    """
    if score == "fid":
        tokenizers = (site.facts.get("tokenizers") or {}).items()
        found = {f"floor {name}": of.get("rfid") for name, of in tokenizers}
    else:
        found = {"test images": site.facts.get("is")}
    return {label: float(level) for label, level in found.items() if isinstance(level, int | float)}


def _tradeoffs(site: Site, folder: Path) -> list[Drawn]:
    drawn = [
        figures.tradeoff(
            _standing(site, cost, score), site.measures[cost], site.measures[score], site.looks, _levels(site, score),
            folder,
        )
        for cost in COSTS
        for score in SCORES
    ]  # fmt: skip
    drawn.append(figures.guidance(site.settings, site.board, site.measures["fid"], site.looks, folder))
    return [one for one in drawn if one]


def _standing(site: Site, cost: str, score: str) -> pd.DataFrame:
    measures = site.measures
    known = site.standing[cost] if score == "fid" else None
    return site.shown.assign(standing=known or site.certainty.standing(site.shown, measures[cost], measures[score]))


def _sparsities(site: Site, folder: Path) -> list[Drawn]:
    levels, fid = _levels(site, "fid"), site.measures["fid"]
    drawn = [figures.sparsity(site.tuned, knob, fid, site.looks, levels, folder) for knob in table.SPARSITY]
    drawn += [figures.same_cost(site.tuned, site.measures[x], fid, site.looks, folder) for x in ("gflops", "latency")]
    return [one for one in drawn if one]
