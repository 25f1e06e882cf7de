"""The page that sets two to four trials side by side.

Differences between trials are computed in advance, by harness.records.comparison, and not in the browser. There are two
reasons. First, a browser that computes paired intervals would have to load the values of all scores in each draw of the
bootstrap (the replicates). The replicates of one trial take 50 KB, too much for a page. Second, all statistics should
be in the Python code, and no part of them in the browser's scripts.

As differences are computed in advance, the number of pairs must be limited. At most ``MOST`` trials are chosen, and
differences are computed for all pairs of chosen trials. The best trial of each method and trials near a frontier are
chosen first. The page shows other trials side by side without differences; `arbench compare` gives their differences.
"""

from collections.abc import Iterator
from itertools import combinations
from math import log
from pathlib import Path
from typing import Any

from harness.records.comparison import RELATIVE, Difference, differences
from harness.records.store import REPLICATES
from reports import table
from reports.certainty import ON, UNDECIDED
from reports.leaderboard import rounded
from reports.sheets import Sheet, write_data
from reports.site import COSTS, Site, short

MOST = 72
"""The greatest number of trials between which differences are computed."""


def sheets(site: Site, out: Path) -> Iterator[Sheet]:
    """The page compare.html. Also writes one data file for each chosen trial.

    A trial's file has the differences between the trial and every later trial in the list ``chosen(site)``.
    """
    keys = chosen(site)
    records = [dict(site.records[key]) for key in keys]
    loaded = [(record, site.store.arrays(record, _needed)) for record in records]
    pairs: dict[str, dict[str, list[list[Any]]]] = {key: {} for key in keys}
    for (one, arrays), (other, arrays_2) in combinations(loaded, 2):
        if all(record.get(part) for record in (one, other) for part in ("quality", "flops", "timing")):
            found = differences((one, arrays), (other, arrays_2))
            pairs[one["key"]][short(other["key"])] = [
                [d.figure, rounded(_apart(d)), rounded(d.low), rounded(d.high), d.paired, d.better] for d in found
            ]
    for key, others in pairs.items():
        write_data(out, f"pairs-{short(key)}", others)
    named = [(short(row["key"]), row["method"], row["settings"]) for row in table.dicts(site.rows)]
    about = {"paired": [short(key) for key in keys], "trials": named}
    scripts = ["data/shared.js", write_data(out, "compare", about), "static/trial.js", "static/compare.js"]
    yield Sheet("compare.html", "Compare trials", "compare.html", {"most": MOST}, "Compare", scripts)


def chosen(site: Site) -> list[str]:
    """Keys of the trials whose differences are computed.

    The list begins with a trial of the best setting of each method. Then come trials of the settings on or near a
    frontier. Last come all other trials. For their order, the trials of each method are ranked by FID. The second-best
    trials of all methods come before the third-best trials of all methods, and so on. The list has at most
    ``MOST`` keys.
    """
    best = list(site.board["key"])
    reached = [
        row["key"]
        for place, row in enumerate(table.dicts(site.shown))
        if any(site.standing[cost][place] in (ON, UNDECIDED) for cost in COSTS)
    ]
    others = site.main.sort_values("fid", kind="stable")
    rank = others.groupby("method").cumcount()
    rest = list(others.loc[rank.sort_values(kind="stable").index, "key"])
    return list(dict.fromkeys([*best, *reached, *rest]))[:MOST]


def _apart(difference: Difference) -> float:
    """The difference ``other`` - ``one``; for times and energy, log(other / one) instead.

    For times and energy, the interval's ends ``low`` and ``high`` are also logarithms of ratios.
    """
    if difference.figure in RELATIVE:
        return log(difference.other / difference.one)
    return difference.other - difference.one


def _needed(name: str) -> bool:
    return name == "labels" or name.startswith(REPLICATES)
