"""The page: from a store to a folder that opens from disk, without a network."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import ArbenchError
from reports import figures, images, table
from reports.certainty import ON, UNDECIDED
from reports.figures import Drawn
from reports.protocol import protocol
from reports.sheets import Sheet
from reports.site import Site, head

COSTS = ("steps", "gflops", "latency", "throughput")
SCORES = ("fid", "is")
SMALL = ("gmacs", "latency_tokens", "latency_decoder")  # printed small in the cell of what they belong to
DETAIL = ("sfid", "density", "coverage")  # in the table of all trials alone
FLOOR = "test images, encoded and decoded (rFID)"
LOG_SHOWN = 4000  # characters of a failed trial's log; its end says what happened


@dataclass(frozen=True)
class Row:
    """A table row. method: its name, "" for a reference row; cells, between: printed figures and their intervals, by
    measure; best: measures in which no other row is better; ``href``: where its trial is on the page."""

    method: str
    title: str
    settings: str
    cells: Mapping[str, str]
    best: frozenset[str] = frozenset()
    anchor: str = ""
    href: str = ""
    seed: str = ""
    images: str = ""
    frontier: str = ""
    failure: str = ""
    noisy: bool = False
    between: Mapping[str, str] = field(default_factory=dict)
    random: bool = False


@dataclass(frozen=True)
class Grid:
    """Strips of images under a heading. strips: (label, settings, file or "", reason if there is no file)."""

    heading: str
    strips: Sequence[tuple[str, str, str, str]]


def sheets(site: Site, out: Path) -> Iterator[Sheet]:
    """The first page."""
    board, shown = site.board, site.shown
    marks = {name: figures.key(look, out / "figures", name) for name, look in site.looks.items()}
    content = {
        "fid": site.fid,
        "head": head(site),
        "notes": site.notes,
        "marks": marks,
        "measures": [m for m in table.named(site.fid) if m.name not in SMALL + DETAIL],
        "all_measures": [m for m in table.named(site.fid) if m.name not in SMALL],
        "leaderboard": [*_ranked(site, board), *_references(site)],
        "tradeoffs": _tradeoffs(site, shown, board, out / "figures"),
        "sparsities": _sparsities(site, out / "figures"),
        "grids": _grids(site, board, out / "images"),
        "columns": images.labels(str(site.rows["preset"].iloc[0])),
        "methods": _methods(site),
        "trials": _trials(site, shown),
        "failed": _failed(site),
        "tokenizers": site.facts.get("tokenizers") or {},
        "figure": table.figure,
        "protocol": protocol(list(site.records.values())),
    }
    for name, rows in (("leaderboard", board), ("trials", site.rows)):
        text = rows.drop(columns=["log"]).rename(columns={"fid": f"FID ({site.fid})"}).to_csv(index=False)
        (out / f"{name}.csv").write_text(text, encoding="utf-8")
    yield Sheet("index.html", "At this fidelity, what does an image really cost?", "index.html", content, "Leaderboard")


def _cells(site: Site, row: Mapping[str, Any]) -> dict[str, str]:
    cells = {name: measure.text(row[name]) for name, measure in site.measures.items()}
    if row["steps_std"] and row["steps_std"] > 0:
        cells["steps"] += f" ± {table.figure(float(row['steps_std']), 2)}"
    return cells


def _between(site: Site, row: Mapping[str, Any]) -> dict[str, str]:
    return {name: table.between(row, measure) for name, measure in site.measures.items()}


def _ranked(site: Site, board: pd.DataFrame) -> list[Row]:
    best: dict[int, set[str]] = {}
    for name, measure in site.measures.items():
        if measure.better and board[name].notna().any():
            top = board[name].min() if measure.better == "low" else board[name].max()
            for index in board.index[board[name] == top]:
                best.setdefault(int(index), set()).add(name)
    ranked = [
        Row(
            row["method"], row["title"], row["settings"], _cells(site, row), frozenset(best.get(index, ())),
            href=f"#trial-{row['key'][:12]}", noisy=bool(row["noisy"]), seed=_seeds(row), between=_between(site, row),
        )
        for index, row in enumerate(table.dicts(board))
    ]  # fmt: skip
    absent = site.rows[~site.rows["method"].isin(board["method"])].drop_duplicates("method")
    return ranked + [
        Row(row["method"], row["title"], "", {}, failure="no finished trial that has a FID and can be compared")
        for row in table.dicts(absent)
    ]


def _seeds(row: Mapping[str, Any]) -> str:
    return f"mean of {row['seeds']} seeds" if row["seeds"] > 1 else ""


def _references(site: Site) -> list[Row]:
    """The floor and the ceiling: tokenizers' reconstructions, and the test images themselves."""
    measures = site.measures
    found = [
        Row("", f"Floor: tokenizer {name}", FLOOR, {"fid": measures["fid"].text(of.get("rfid"))})
        for name, of in (site.facts.get("tokenizers") or {}).items()
    ]
    if "is" in site.facts:
        accuracy = site.facts.get("label_accuracy")
        cells = {"is": measures["is"].text(site.facts["is"])}
        if accuracy is not None:
            cells["label_accuracy"] = measures["label_accuracy"].text(100 * accuracy)
        found.append(Row("", "Ceiling: test images", "as they are", cells))
    return found


def _levels(site: Site, score: str) -> dict[str, float]:
    """Lines across the figures of a score: the floor under FID, the ceiling over IS."""
    if score == "fid":
        tokenizers = (site.facts.get("tokenizers") or {}).items()
        found = {f"floor {name}": of.get("rfid") for name, of in tokenizers}
    else:
        found = {"test images": site.facts.get("is")}
    return {label: float(level) for label, level in found.items() if isinstance(level, int | float)}


def _tradeoffs(site: Site, shown: pd.DataFrame, board: pd.DataFrame, folder: Path) -> list[Drawn]:
    measures = site.measures
    drawn = [
        figures.tradeoff(
            shown.assign(standing=site.certainty.standing(shown, measures[cost], measures[score])),
            measures[cost],
            measures[score],
            site.looks,
            _levels(site, score),
            folder,
        )
        for cost in COSTS
        for score in SCORES
    ]
    drawn.append(figures.guidance(site.settings, board, measures["fid"], site.looks, folder))
    return [one for one in drawn if one]


def _sparsities(site: Site, folder: Path) -> list[Drawn]:
    measures, levels, fid = site.measures, _levels(site, "fid"), site.measures["fid"]
    drawn = [figures.sparsity(site.tuned, knob, fid, site.looks, levels, folder) for knob in table.SPARSITY]
    drawn += [figures.same_cost(site.tuned, measures[x], fid, site.looks, folder) for x in ("gflops", "latency")]
    return [one for one in drawn if one]


def _grids(site: Site, board: pd.DataFrame, folder: Path) -> list[Grid]:
    """All methods at their leaderboard setting, then each method over its settings; one seed, so one noise, in all."""
    if site.main.empty:
        return []
    seed = site.main["seed"].mode().iloc[0]
    made: dict[str, tuple[str, str, str, str]] = {}

    def strip(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
        """The strip of a setting, from its trial with the common seed."""
        same = (site.main["method"] == row["method"]) & (site.main["settings"] == row["settings"])
        keys = site.main.loc[same & (site.main["seed"] == seed), "key"]
        if keys.empty:
            return row["method"], row["settings"], "", f"not measured with seed {seed}"
        key = keys.iloc[0]
        if key not in made:
            file, reason = "", ""
            try:
                file = images.of_record(site.store, site.records[key], folder)
            except ArbenchError as error:
                reason = str(error)
            made[key] = (row["method"], row["settings"], file, reason)
        return made[key]

    file = images.real(str(site.main["preset"].iloc[0]), folder)
    top = [("real images", "the first two of each class in the test set", file, "")] if file else []
    grids = [Grid("", top + [strip(row) for row in table.dicts(board)])]
    for name in figures.present(site.looks, site.tuned):
        own = site.tuned[site.tuned["method"] == name]
        if len(own) > 1:
            grids.append(Grid(f"{name}: {len(own)} settings", [strip(row) for row in table.dicts(own)]))
    return grids


def _methods(site: Site) -> list[dict[str, Any]]:
    found = []
    for name in site.looks:
        own = [record for record in site.records.values() if record["trial"]["method"] == name]
        about: Mapping[str, Any] = next((record["method"] for record in own if record.get("method")), {})
        sizes: Mapping[str, Any] = next((record["parameters"] for record in own if record.get("parameters")), {})
        status = Counter(record["status"] for record in own)
        found.append(
            {
                "name": name,
                "title": about.get("title", name),
                "family": about.get("family", ""),
                "paper": about.get("paper", ""),
                "link": _link(str(about.get("paper", ""))),
                "differences": about.get("differences", ""),
                "network": table.figure(sizes.get("network")),
                "tokenizer": table.figure(sizes.get("tokenizer")),
                "done": status["done"],
                "failed": sum(status.values()) - status["done"],
            }
        )
    return found


def _link(paper: str) -> str:
    """Where a paper is, if it is named by its arXiv number; other texts are not made into links."""
    found = re.search(r"\b(\d{4}\.\d{4,5})\b", paper)
    return f"https://arxiv.org/abs/{found[1]}" if found else ""


def _trials(site: Site, shown: pd.DataFrame) -> list[Row]:
    badges: dict[tuple[str, str], list[str]] = {}
    words = {"steps": "steps", "gflops": "FLOPs", "latency": "latency", "throughput": "throughput"}
    for cost in COSTS:
        standing = site.certainty.standing(shown, site.measures[cost], site.measures["fid"])
        for row, place in zip(table.dicts(shown), standing, strict=True):
            if place in (ON, UNDECIDED):
                badge = words[cost] if place == ON else f"{words[cost]} ({UNDECIDED})"
                badges.setdefault((row["method"], row["settings"]), []).append(badge)
    compared = set(site.main["key"])
    found = []
    for row in table.dicts(site.rows):
        done = row["status"] == "done"
        badge = ", ".join(badges.get((row["method"], row["settings"]), ())) if row["key"] in compared else ""
        found.append(
            Row(
                row["method"], row["title"], row["settings"], _cells(site, row) if done else {},
                anchor=f"trial-{row['key'][:12]}", seed=str(row["seed"]), images=f"{row['images']:,}", frontier=badge,
                noisy=bool(row["noisy"]), random=bool(row["random"]), between=_between(site, row),
                failure="" if done else f"failed in {row['stage'] or 'an unknown stage'}",
            )
        )  # fmt: skip
    return found


def _failed(site: Site) -> list[dict[str, str]]:
    rows = site.rows[site.rows["status"] != "done"]
    return [
        {
            "name": row["name"],
            "anchor": f"trial-{row['key'][:12]}",
            "stage": row["stage"] or "unknown",
            "reason": row["reason"] or "no reason recorded",
            "log": row["log"][-LOG_SHOWN:],
        }
        for row in table.dicts(rows)
    ]
