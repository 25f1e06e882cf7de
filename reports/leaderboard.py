"""The first page: all rows of the store as data, which static/leaderboard.js sorts, filters and prints."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.plugins.looks import looks
from harness.records.store import Record
from harness.stages import clocks
from harness.stages.figures import FIGURES, Figure
from reports import figures, papers, table
from reports.names import safe
from reports.protocol import machine_words
from reports.published import PROVENANCES, PublishedRow, disagreements, published
from reports.sheets import Sheet, write_data
from reports.site import COSTS, Site, head, short
from reports.table import HIGH, LOW

DEFAULT = ("steps", "params", "fid", "is", "gflops", "latency", "throughput")
"""The columns that are shown and loaded at first. Other columns are loaded when a reader asks for them."""
PUBLISHED_SIZE = 256
"""Published rows are listed if their images have this size, in pixels per side."""
MEASURED, SUBMITTED, VERIFIED, PUBLISHED = "measured", "submitted", "submitted, verified", "published"
FOREIGN = "foreign samples"


def sheets(site: Site, out: Path) -> Iterator[Sheet]:
    """The page index.html. Also writes leaderboard.csv and trials.csv, and the markers of all methods to figures/.

    A figure that no row has is not offered: neither as a column, nor as an axis, nor in the CSV files. Those of DEFAULT
    are always there.
    """
    for name, look in site.looks.items():
        figures.key(look, out / "figures", name)
    rows = [*_settings(site), *_apart(site), *map(_published, listed())]
    found = _figures(rows, [one.name for one in FIGURES])
    offered = [one for one in FIGURES if one.name in DEFAULT or found[one.name][0]]
    marks = [name for name in _MARKS if site.rows[name].any()]
    about = {
        "measures": [measure(one) for one in offered],
        "methods": methods(site),
        "costs": [[cost, _COST_WORDS[cost]] for cost in COSTS],
        "sets": _sets(rows),
        "limits": list(_limits(site)),
        "columns": _columns(rows, ["standing", *_WORDS, *marks]),
        "figures": {name: found[name] for name in DEFAULT},
        "cite": _cite(site),
    }
    scripts = [write_data(out, "leaderboard", about), "static/rows.js", "static/export.js", "static/leaderboard.js"]
    write_data(out, "leaderboard-more", {one.name: found[one.name] for one in offered if one.name not in DEFAULT})
    empty = [one.name + end for one in FIGURES if one not in offered for end in ("", LOW, HIGH)]
    empty += [
        "cannot_be_captured",
        *(name for name in _MARKS if name not in marks),
        *(() if _tells_clocks(site) else ("clock", "timed", "other_clock")),
    ]
    for name, written in (("leaderboard", site.board), ("trials", site.rows)):
        text = (
            written.drop(columns=["log", *empty])
            .rename(columns={"fid": f"FID ({site.fid})"})
            .to_csv(index=False, float_format="%.9g")
        )
        (out / f"{name}.csv").write_text(text, encoding="utf-8")
    content = {"fid": site.fid, "head": head(site), "notes": site.notes}
    yield Sheet(
        "index.html", "At this fidelity, what does an image really cost?", "leaderboard.html", content, "Leaderboard",
        scripts,
    )  # fmt: skip


def _tells_clocks(site: Site) -> bool:
    """Whether a row of the store is not simply eager, as all rows on a CPU are, or says why it is."""
    return bool((~site.rows["clock"].isin(["", clocks.EAGER]) | (site.rows["timed"] != "")).any())


def methods(site: Site) -> dict[str, dict[str, str]]:
    """Name of a method -> what the scripts of the pages need to know about the method."""
    found = {}
    for name, look in site.looks.items():
        about = about_method(site, name)
        found[name] = {
            "title": str(about.get("title", name)),
            "family": str(about.get("family", "")),
            "colour": look.colour,
            "mark": look.mark,
            "icon": f"figures/{figures.key_file(name)}",
            "page": f"method-{safe(name)}.html",
            "bibtex": papers.bibtex(str(about.get("paper", ""))),
            "published": looks()[name].published if name in looks() else "",
        }
    return found


def about_method(site: Site, name: str) -> Mapping[str, Any]:
    """The description of a method in the first record that has one; empty if no record has one."""
    own = (record for record in site.records.values() if record["trial"]["method"] == name)
    return next((record["method"] for record in own if record.get("method")), {})


def listed() -> list[PublishedRow]:
    """The published rows on the leaderboard: those that have a FID, and whose image size is PUBLISHED_SIZE."""
    return [row for row in published() if row.fid is not None and row.image_size == PUBLISHED_SIZE]


_COST_WORDS = {"steps": "steps", "gflops": "FLOPs", "latency": "latency", "throughput": "throughput"}
_WORDS = (
    "method", "title", "family", "settings", "set", "source", "device", "status", "note", "key", "seed", "seeds",
    "images", "best", "noisy", "random", "steps_std", "ffn_sparsity", "token_sparsity", "tuned",
)  # fmt: skip
_MARKS = ("gpu_disturbed", "eager_noisy", "eager_disturbed", "energy_disturbed")
"""Columns of marks beside times and energy. They are left out if no row has such a mark."""


def _settings(site: Site) -> Iterator[dict[str, Any]]:
    """One row for each setting that can be compared, with means over seeds."""
    best, tuned = set(site.board["key"]), set(site.tuned["key"])
    place = {(row["method"], row["settings"]): at for at, row in enumerate(table.dicts(site.shown))}
    for row in table.dicts(site.settings):
        at = place.get((row["method"], row["settings"]))
        codes = "".join((site.standing[cost][at] if at is not None else "")[:2] or "--" for cost in COSTS)
        yield _row(site, row, 0) | {"best": row["key"] in best, "standing": codes, "tuned": row["key"] in tuned}


def _apart(site: Site) -> Iterator[dict[str, Any]]:
    """Rows of all trials that are not in ``site.main``.

    ``site.main`` is the largest set of trials that can be compared with each other. A trial is not in it if the trial
    failed, ran on random weights, or cannot be compared with the trials of ``site.main``.

    Trials with scores are put into further sets, numbered from 1. Trials of one set can be compared with each other.
    """
    rest = site.rows[~site.rows["key"].isin(site.main["key"])]
    known: dict[tuple[str, ...], int] = {}
    for row in table.dicts(rest):
        kind = tuple(str(row[name]) for name in table.COMPARABLE)
        scored = row["status"] == "done" and not row["random"]
        number = known.setdefault(kind, 1 + len(known)) if scored else 0
        alone = "foreign" in site.records[row["key"]]  # no other row has this name, so no row is better
        yield _row(site, row, number) | {"best": alone, "standing": ""}


def _row(site: Site, row: Mapping[str, Any], number: int) -> dict[str, Any]:
    record = site.records[row["key"]]
    return {
        **(table.by_own_extractor(row, record, site.fid) if number else row),
        "set": number,
        "source": _source(record),
        "device": device(record),
        "note": _note(row),
        "key": short(row["key"]),
        "ffn_sparsity": row.get("knob:ffn_sparsity"),
        "token_sparsity": row.get("knob:token_sparsity"),
    }


def _note(row: Mapping[str, Any]) -> str:
    """What a reader has to know of a row beside its settings. It is empty for a row on a CPU with which nothing is
    wrong; a row on CUDA always says how it was timed.

    For a failed trial, the note names the stage that failed. For a finished trial, the note lists what applies:
    - that the trial was not timed
    - which numbers are flagged on the trial's page
    - what disturbed the times, if the times are noisy
    - how the GPU was throttled or shared while times were taken
    - on CUDA, ``timed captured``, or why the times are eager; compiled times are named in the settings
    - if the time saved is relative to times of another clock
    """
    if row["status"] != "done":
        return f"failed in {row['stage'] or 'an unknown stage'}"
    flagged = dict.fromkeys(flag.partition(":")[0] for flag in row["flags"])
    flags = f"flagged: {', '.join(flagged)}" if flagged else ""
    untimed = "" if row["latency"] == row["latency"] else "not timed"  # NaN
    noisy = row["why_noisy"] and f"noisy: {row['why_noisy']}"
    disturbed = row["why_disturbed"] and f"GPU disturbed: {row['why_disturbed']}"
    return "; ".join(filter(None, [untimed, flags, noisy, disturbed, row["timed"], row["other_clock"]]))


def _published(row: PublishedRow) -> dict[str, Any]:
    """A published row as a row of the leaderboard. Published rows make up the last set of rows.

    A published number is shown only if all sources define its quantity in the same way.
    """
    apart = [one for one in disagreements(published()) if row in one.rows]
    others = [f"; this checkpoint is published at FID {one.low:g} to {one.high:g}" for one in apart]
    words = "; ".join(filter(None, [row.model, row.sampling and f"sampling {row.sampling}"]))
    found = {name: row.figure(name) for name in ("fid", "is", "precision", "recall", "params", "steps")}
    about = {"method": row.method, "title": row.model, "settings": words, "set": -1, "source": PUBLISHED}
    said = {
        "note": f"{PROVENANCES[row.provenance]}: {row.source}{''.join(others)}",
        "status": "done",
        "seeds": 1,
        "best": True,
    }
    return {**about, **said, **found, "standing": ""}


def _source(record: Record) -> str:
    if "foreign" in record:
        return FOREIGN
    submission = record.get("submission")
    if submission is None:
        return MEASURED
    return VERIFIED if submission.get("verified") else SUBMITTED


def device(record: Record) -> str:
    """The device and the machine on which a record was timed, in words; "" if it was not timed."""
    name = (record.get("timing") or {}).get("device")
    if not name:
        return ""
    machine = (record.get("provenance") or {}).get("machine") or {}
    return f"{name}: {machine_words(machine)}"


def _sets(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """A description of each set of comparable rows, in the order of set numbers; published rows come last."""
    found: dict[int, dict[str, str]] = {}
    for row in rows:
        if row["set"] >= 0 and row["set"] not in found and row["status"] == "done" and not row["random"]:
            reference = str(row["reference"])[:8]
            words = f"{row['data']}, {row['images']:,} images, reference {reference}"
            found[row["set"]] = {"title": words, "fid": f"FID ({row['extractor']})"}
    found.setdefault(0, {"title": "nothing was scored", "fid": "FID"})
    published_set = {"title": f"ImageNet {PUBLISHED_SIZE} × {PUBLISHED_SIZE}, as published", "fid": "FID (Inception)"}
    return [found[number] for number in sorted(found)] + [published_set]


def _limits(site: Site) -> Iterator[dict[str, Any]]:
    """Rows of the leaderboard that show limits for the scores of methods.

    One row for each tokenizer gives the floor of FID: the FID of the test images after this tokenizer has encoded and
    decoded them. One more row gives the ceiling of IS and label accuracy: the scores of the test images as they are.
    """
    for name, of in (site.facts.get("tokenizers") or {}).items():
        words = "test images, encoded and decoded (rFID)"
        yield {"title": f"Floor: tokenizer {name}", "settings": words, "figures": {"fid": of.get("rfid")}}
    if "is" in site.facts:
        accuracy = site.facts.get("label_accuracy")
        found = {"is": site.facts["is"], "label_accuracy": None if accuracy is None else 100 * accuracy}
        yield {"title": "Ceiling: test images", "settings": "as they are", "figures": found}


def measure(one: Figure) -> dict[str, Any]:
    """What the scripts of the pages need to know about a measure."""
    known = {"name": one.name, "title": one.heading, "about": one.about, "better": one.better}
    return {**known, "digits": one.digits, "places": one.places, "shown": one.name in DEFAULT, "clock": one.clock}


def _columns(rows: list[dict[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    """The rows as columns.

    A column in which words repeat becomes two lists. ``words`` has each word once. ``at`` has, for each row, the index
    of the row's word in ``words``.
    """
    found: dict[str, Any] = {}
    for name in names:
        values = [_plain(row.get(name)) for row in rows]
        words = dict.fromkeys(values)
        if all(isinstance(value, str | None) for value in words) and len(words) < len(values) / 2:
            place = {word: at for at, word in enumerate(words)}
            found[name] = {"words": list(words), "at": [place[value] for value in values]}  # a third as long
        else:
            found[name] = values
    return found


def _figures(rows: list[dict[str, Any]], names: Iterable[str]) -> dict[str, list[list[Any]]]:
    """Name of a measure -> three columns over all rows: the values, and the lower and the upper ends of intervals."""
    found = {}
    for name in names:
        columns = [[rounded(row.get(name + end)) for row in rows] for end in ("", LOW, HIGH)]
        found[name] = [column if any(v is not None for v in column) else [] for column in columns]
    return found


def rounded(value: Any) -> float | int | None:
    """A value rounded to five digits; None if there is no value. Pages show fewer digits than five."""
    if value is None or value != value:  # NaN; pandas' own test of a single value is slow
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() else short


def _plain(value: Any) -> Any:
    """The value of a cell, in a form that JSON can hold: None for NaN, and Python's types for numpy's."""
    if value is None or value != value:
        return None
    return value.item() if hasattr(value, "item") else value


def _cite(site: Site) -> str:
    """BibTeX of the report itself."""
    about = head(site)
    note = f"Measured with commit {about['commit']}, {about['trials']} trials, {about['images']} images each"
    fields = {
        "title": "arbench: what an image of a visual autoregressive generator costs",
        "year": about["finished"][:4],
        "note": "".join(c for c in note if c not in "{}\\"),
    }
    return "@misc{arbench,\n" + ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items()) + "\n}"
