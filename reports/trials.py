"""The page of a trial: one HTML file for all trials, and one data file per trial, loaded when the trial is opened.

So 5,000 trials cost 5,000 small data files, not 5,000 pages. Some values are the same in many records: machine,
versions, conventions. Such a value is stored once, in data/shared.js. The data of a trial have ``{"shared": n}`` in
place of the value, where n is the index of the value in data/shared.js.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import ArbenchError
from harness.machine.disturbances import disturbed
from harness.records.setups import setup_of
from harness.stages import clocks
from harness.stages.figures import FIGURES
from reports import images, leaderboard, table
from reports.images import Strips
from reports.sheets import Sheet, write_data
from reports.site import Site, short
from reports.table import HIGH, LOW

LOG_SHOWN = 4000
"""How many characters of a log are shown: the last ones, since the end of a log says what happened."""
_NUMBERS = (int, float, type(None))
LONG = 40
"""A value is stored in data/shared.js only if its JSON has at least this many characters."""


def sheets(site: Site, out: Path) -> Iterator[Sheet]:
    """The page trial.html. Also writes the data of every trial, and the images of every trial to images/."""
    strips = Strips(out / "images", len(site.rows))
    rows = table.dicts(site.rows)
    found = [_trial(site, row) for row in rows]
    share, shared = _sharing(found)
    for row, one in zip(rows, found, strict=True):
        site.images[row["key"]] = _images(site, row, strips)
        write_data(out, f"trial-{short(row['key'])}", {**share(one), "images": site.images[row["key"]]})
    about = {
        "values": shared,
        "measures": [leaderboard.measure(one) for one in FIGURES],
        "methods": leaderboard.methods(site),
        "classes": images.labels(str(site.rows["data"].iloc[0])),
        "real": _real(site, out),
    }
    scripts = [write_data(out, "shared", about), "static/trial.js"]
    yield Sheet("trial.html", "Trial", "trial.html", {"names": _names(site)}, "", scripts)


def _names(site: Site) -> list[tuple[str, str]]:
    """(key, name) of each method's best trial. The page lists these trials if its address names no trial."""
    return [(short(row["key"]), f"{row['method']}, {row['settings']}") for row in table.dicts(site.board)]


def _trial(site: Site, row: Mapping[str, Any]) -> dict[str, Any]:
    record = site.records[row["key"]]
    row = table.by_own_extractor(row, record, site.fid)
    failure = record.get("failure") or {}
    return {
        "name": record["name"],
        "key": record["key"],
        "status": record["status"],
        "trial": record["trial"],
        "settings": row["settings"],
        "method": record.get("method") or {},
        "file": site.store.path(record["name"], record["key"]).name,
        "failure": failure and {**failure, "log": str(failure.get("log") or "")[-LOG_SHOWN:]},
        "flags": table.flags(record),
        "fid": f"FID ({(record.get('quality') or {}).get('extractor', site.fid)})",
        "figures": {measure.name: ends for measure in FIGURES if (ends := _figure(row, measure.name))},
        "flops": _short_numbers(record.get("flops")),
        "timing": _timing(record),
        "generate": _short_numbers(record.get("generate")),
        "parameters": record.get("parameters"),
        "reference": (record.get("quality") or {}).get("reference"),
        "provenance": {name: value for name, value in (record.get("provenance") or {}).items() if name != "machine"},
        "device": leaderboard.device(record),
        # The scripts take a timed trial without this for eager, as every trial on a CPU is: thousands of files.
        **(
            {"clock": clock} if (clock := clocks.in_words(record.get("timing") or {})) not in ("", clocks.EAGER) else {}
        ),
        # The setup of a record of an earlier version is not all in its trial.
        **({"setup": setup} if (setup := setup_of(record)) != (record["trial"].get("setup") or {}) else {}),
        **({"foreign": record["foreign"]} if record.get("foreign") else {}),
        # Most trials keep no log.
        **({"log": str(record["log"])[-LOG_SHOWN:]} if record.get("log") else {}),
    }


def _timing(record: Mapping[str, Any]) -> Any:
    """The timing of a record, in the form that the page of the trial draws.

    Two parts of the record are left out: the time of the decoder in each round (``decoder_samples``), and the causes of
    disturbances (``disturbances``). Instead of the causes, the result says which timed samples were disturbed.
    """
    found = record.get("timing")
    if not found:
        return found
    second = {"eager": _drawn(found["eager"])} if clocks.has_second(found) else {}
    return _short_numbers({**found, **_drawn(found), **second})


def _drawn(clock: Mapping[str, Any]) -> dict[str, Any]:
    """The times of one clock, in the form that the page of the trial draws."""
    parts = {name: clock[name] for name in ("latency", "throughput") if isinstance(clock.get(name), Mapping)}
    left = ("decoder_samples", "disturbances")
    return {name: {**{k: v for k, v in one.items() if k not in left}, **_lost(one)} for name, one in parts.items()}


def _lost(timed: Mapping[str, Any]) -> dict[str, list[int]]:
    """A dictionary {"disturbed": indices of the disturbed samples}; {} if no sample was disturbed."""
    samples = timed.get("samples") or []
    found = disturbed(samples, timed.get("disturbances") or {})
    places = [place for place, one in enumerate(found) if one]
    return {"disturbed": places} if places else {}


def _figure(row: Mapping[str, Any], name: str) -> list[float] | None:
    """[value, lower end, upper end] of a metric and its interval, in the report's units.

    [value] if the metric has no interval; None if the row has no such metric.
    """
    found = [leaderboard.rounded(row.get(name + end)) for end in ("", LOW, HIGH)]
    known = [value for value in found if value is not None]
    return None if found[0] is None else known


def _images(site: Site, row: Mapping[str, Any], strips: Strips) -> dict[str, Any]:
    """The file of a trial's strip and the number of images in the strip, or the reason why there is no strip."""
    record = site.records[row["key"]]
    if record["status"] != "done" or row["random"]:
        return {"reason": "no images: the trial failed" if record["status"] != "done" else "no images: random weights"}
    try:
        arrays = site.store.arrays(dict(record), lambda name: name == "thumbnails" or name in site.certainty.wanted)
        site.certainty.keep(row["key"], arrays)
        file, count = strips.write(short(row["key"]), arrays.get("thumbnails"), str(record["name"]))
    except ArbenchError as error:
        return {"reason": str(error)}
    return {"file": file, "count": count}


def _real(site: Site, out: Path) -> str:
    """The file of the strip of real images; "" if there are none."""
    found = images.real(str(site.rows["data"].iloc[0]))
    return "" if found is None else Strips(out / "images", 1).write("real", found, "real images")[0]


def _short_numbers(value: Any) -> Any:
    """The value, with numbers rounded to five digits. Pages show fewer digits than five, and JSON gets half as long."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {name: _short_numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_short_numbers(part) for part in value]
    return value


def _sharing(found: list[dict[str, Any]]) -> tuple[Callable[[Any], Any], list[Any]]:
    """Find the values that occur at least twice, counted over the data of all trials together: the shared values.

    Returns a function and a list. The list has the shared values. The function takes the data of a trial, and puts a
    reference ``{"shared": index in the list}`` in place of each shared value.
    """
    counts: Counter[str] = Counter()
    written: dict[int, str] = {}  # by the id of a value, so that JSON is made once; ``found`` keeps all values alive
    encode = json.JSONEncoder(check_circular=False).encode

    def brief(value: Any) -> bool:  # JSON writes a character of a string as six at most
        return isinstance(value, _NUMBERS) or (isinstance(value, str) and len(value) < LONG // 6)

    def count(value: Any) -> None:
        if brief(value):
            return
        text = written[id(value)] = encode(value)
        if len(text) < LONG:
            return
        counts[text] += 1
        if isinstance(value, dict) and counts[text] == 1:
            for part in value.values():
                count(part)

    for one in found:
        for part in one.values():
            count(part)
    common = {text: place for place, text in enumerate(text for text, times in counts.items() if times > 1)}

    def share(value: Any) -> Any:
        if brief(value):
            return value
        place = common.get(written.get(id(value)) or encode(value))
        if place is not None:
            return {"shared": place}
        return {name: share(part) for name, part in value.items()} if isinstance(value, dict) else value

    return share, [json.loads(text) for text in common]
