"""Turns records into tidy pandas rows: one row per trial, with settings in words and metrics in the report's units."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from typing import Any

import pandas as pd

from harness.plugins.looks import looks
from harness.records.setups import UNKNOWN, arithmetic_of, setup_of
from harness.stages import clocks
from harness.stages.figures import FIGURES, Figure
from harness.stages.timing.summary import why_disturbed, why_noisy

Record = Mapping[str, Any]
"""A record as harness.records.store reads it. No function of this module changes a record."""

SPARSITY = ("ffn_sparsity", "token_sparsity")
OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "cfg_schedule": "constant", "cfg_power": 1.0}
"""Sampling field -> the value at which it has no effect. A row's settings leave out fields at this value."""
UNUSUAL = {
    ("precision", "bf16"): "precision bf16",
    ("labels", "random"): "random labels",
    ("uint8", "truncate"): "truncated to uint8",
    ("weights", "random"): "random weights",
    ("tf32", "on"): "TF32",
    ("tf32", UNKNOWN): "perhaps TF32",
    ("clock", clocks.COMPILED): "timed compiled",
    ("clock", clocks.EAGER): "timed eager",
    ("graphs", True): "CUDA graphs",
}
"""Words for what is unusual in a setup.

fp32 without TF32, balanced labels, rounding and trained weights are usual. So is timing as it is on a CPU, and captured
on CUDA.
"""


LOW, HIGH = ":low", ":high"
"""Endings of column names. A metric's name plus LOW names the column that holds the lower end of the metric's 95 %
interval. The name plus HIGH names the column that holds the upper end."""


def named(extractor: str) -> tuple[Figure, ...]:
    """The descriptions of all metrics of the report. The title of FID includes the name of the extractor."""
    return tuple(replace(one, title=f"FID ({extractor})") if one.name == "fid" else one for one in FIGURES)


def figure(value: Any, digits: int = 3, places: int | None = None) -> str:
    """A number as text for people, with ``digits`` significant digits or ``places`` decimals, and without exponents.

    Examples are 1234.5 -> 1,234 and 0.01234 -> 0.0123. A whole number has no decimals, even if it is a float:
    12.0 -> 12. None, NaN, infinities and anything that is not a number become an en dash.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    if places is None:
        if value == int(value):
            return f"{int(value):,}"
        magnitude = math.floor(math.log10(abs(value)))
        places = min(max(0, digits - 1 - magnitude), 12)
    return f"{value:,.{places}f}"


def extractor(records: Iterable[Record]) -> str:
    """The extractor with which most records were scored. The report ranks by the FID of this extractor."""
    names = pd.Series([str(r["quality"]["extractor"]) for r in records if r.get("quality")], dtype="object")
    return str(names.mode().iloc[0]) if len(names) else "no extractor"


def tidy(records: Iterable[Record], fid: str) -> pd.DataFrame:
    """One row per record, finished or failed, in the order of method and knobs.

    A value that a record lacks is NaN.

    fid: name of the extractor whose FID is in column ``fid``. FIDs of other extractors are in columns ``FID (name)``.
    """
    rows = pd.DataFrame([_row(record, fid) for record in records])
    if rows.empty:
        raise ValueError("no records")
    if rows["preset"].nunique() > 1:
        rows["settings"] = rows["preset"] + ", " + rows["settings"]
    names = [one.name + end for one in FIGURES for end in ("", LOW, HIGH)]
    order = dict.fromkeys([*rows.columns, *names])
    absent = pd.Series(index=rows.index, dtype=float)
    numbers = {name: pd.to_numeric(rows.get(name, absent), errors="coerce").astype(float) for name in names}
    # All at once: a frame to which columns are added one by one is slow.
    rows = pd.concat([rows.drop(columns=names, errors="ignore"), pd.DataFrame(numbers)], axis=1)[list(order)]
    knobs = sorted(name for name in rows.columns if name.startswith("knob:"))
    by = [rows["method"].map(rank), *(rows[name].map(_sortable) for name in knobs), rows["cfg"], rows["seed"]]
    keys = pd.concat([pd.Series(part.to_numpy(), index=rows.index) for part in by], axis=1)
    return rows.loc[keys.sort_values(list(keys.columns), kind="stable").index].reset_index(drop=True)


def rank(method: str) -> tuple[float, str]:
    """The key by which methods are sorted.

    A package can declare how reports show its method, in a ``Look`` (harness.plugins.looks). Methods with a ``Look``
    come first, in the order of ``Look.place``. Then come all other methods, by name.
    """
    look = looks().get(method)
    return (inf if look is None else look.place, method)


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float) and not pd.isna(value):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def knob_words(knobs: Mapping[str, Any]) -> str:
    """Knobs in words: ``steps 13, schedule half-rings``."""
    return ", ".join(f"{name} {f'{v:g}' if isinstance(v, float) else v}" for name, v in knobs.items())


def sampling_words(sampling: Mapping[str, Any]) -> str:
    """Sampling in words: ``cfg 1.5, top_k 100``. Guidance is always named, other fields only if they matter."""
    return knob_words({name: v for name, v in sampling.items() if name == "cfg" or OFF.get(name) != v})


def setup_words(setup: Mapping[str, Any]) -> str:
    """What is unusual in a setup, in words: ``precision bf16, random labels``.

    setup: the fields of a setup; ``compute_batch`` is among them only where it is not the preset's.
    """
    own = str(setup.get("weights", "")).partition("own-")[2]
    found = [words for name, value in setup.items() if (words := UNUSUAL.get((name, value)))]
    found += [f"compute batch {setup['compute_batch']}"] if "compute_batch" in setup else []
    return ", ".join([*found, *([f"own weights {own}"] if own else [])])


def submission_words(record: Record) -> str:
    """Where a record comes from, in words: somebody else submitted it, or another program made its images.

    Empty for a record that was measured here.
    """
    if "foreign" in record:
        return "foreign samples"
    submission = record.get("submission")
    if submission is None:
        return ""
    return f"submitted, {'verified' if submission['verified'] else 'not verified'}"


def _clock(timing: Mapping[str, Any]) -> dict[str, Any]:
    """How a record was timed, as fields of its setup. Eager times on a CPU are usual, and not among them."""
    clock = clocks.clock(timing)
    old = (timing.get("protocol") or {}).get("compile")  # a key of records of earlier versions
    told = clock != clocks.EAGER or clocks.on_cuda(timing)
    return ({"clock": clock} if told else {}) | {"graphs": old == "reduce-overhead"}


def _timed(timing: Mapping[str, Any]) -> str:
    """How times on CUDA were taken, where the settings of a row do not say it: ``timed captured``, or why they are
    eager. Otherwise empty."""
    captured = clocks.clock(timing) == clocks.CAPTURED
    return f"timed {clocks.CAPTURED}" if captured else clocks.why_eager(timing)


def _row(record: Record, fid: str) -> dict[str, Any]:
    trial, method = record["trial"], record.get("method") or {}
    quality, flops = record.get("quality") or {}, record.get("flops") or {}
    timing, failure = record.get("timing") or {}, record.get("failure") or {}
    generate, provenance = record.get("generate") or {}, record.get("provenance") or {}
    scores = quality.get("fid") or {}
    knobs, sampling = knob_words(trial["knobs"]), sampling_words(trial["sampling"])
    setup, submitted = setup_of(record), submission_words(record)
    setup |= _clock(timing)
    if "compute_batch=" not in record["name"]:  # a name has what differs from the preset
        setup.pop("compute_batch", None)
    row = {
        "name": record["name"],
        "key": record["key"],
        "status": record["status"],
        "method": trial["method"],
        "title": method.get("title") or trial["method"],
        "family": method.get("family", ""),
        "preset": trial["preset"],
        "data": record.get("data", trial["preset"]),
        "images": trial["images"],
        "seed": trial["seed"],
        "seeds": 1,
        "knobs": knobs,
        "sampling": sampling,
        "setup": setup_words(setup),
        "arithmetic": " ".join(arithmetic_of(record)),
        "random": setup.get("weights") == "random",
        "submitted": submitted,
        "settings": ", ".join(filter(None, (knobs, sampling, setup_words(setup), submitted))),
        "cfg": trial["sampling"].get("cfg"),
        "extractor": quality.get("extractor", ""),
        "reference": str(provenance.get("reference", "")),
        "steps_std": generate.get("steps_std"),
        "gmacs_tokens": flops["tokens_macs"] * 1e-9 if "tokens_macs" in flops else None,
        "clock": clocks.clock(timing),
        "timed": _timed(timing),
        "cannot_be_captured": clocks.cannot_be_captured(timing),
        "eager_noisy": clocks.noisy(clocks.eager(timing)),
        "eager_disturbed": clocks.disturbed(clocks.eager(timing)),
        "noisy": bool(timing.get("noisy")),
        "why_noisy": "; ".join(why_noisy(timing)),
        "gpu_disturbed": clocks.disturbed(timing),
        "energy_disturbed": clocks.energy_disturbed(timing),
        "why_disturbed": "; ".join(why_disturbed(timing)),
        "flags": tuple(flags(record)),
        "stage": failure.get("stage", ""),
        "reason": failure.get("reason", ""),
        "log": failure.get("log") or "",
    }
    row |= {f"knob:{name}": value for name, value in trial["knobs"].items()}
    for one in FIGURES:
        _put(row, one, record, fid)
    return row | {f"FID ({name})": value for name, value in scores.items() if name != fid}


def by_own_extractor(row: Mapping[str, Any], record: Record, fid: str) -> Mapping[str, Any]:
    """A row of ``tidy`` in which FID and all other distances are those of the extractor that scored the record.

    In ``tidy``, distances are those of the report's extractor ``fid``. Use this function only where the report does not
    compare the row with ranked rows, such as on the page of one trial. That page names the record's extractor.
    """
    quality = record.get("quality") or {}
    own = quality.get("extractor", fid)
    if own == fid:
        return row
    found: dict[str, Any] = {}
    for one in FIGURES:
        if one.by_extractor:
            _put(found, one, record, own)
    return {**row, **found}


def flags(record: Record) -> list[str]:
    """Reasons to trust the numbers of a record less, in words."""
    timing = record.get("timing") or {}
    old, new = ((timing.get(name) or {}).get("alike", 1.0) for name in ("compiled", "capture"))
    other = [f"timing: compiled, {old:.1%} of a batch's images are those without a compiler"] if old < 1 else []
    if new < 1:
        other.append(f"timing: {clocks.clock(timing)}, {new:.1%} of a batch's images have the tokens of an eager run")
    return [*((record.get("quality") or {}).get("flags") or ()), *other]


def _put(row: dict[str, Any], one: Figure, record: Record, extractor: str) -> None:
    """Add the value of a metric from a record to a row, and the ends of the metric's interval if it has one."""
    row[one.name] = one.value(record, extractor)
    if ends := one.ends(record, extractor):
        row[one.name + LOW], row[one.name + HIGH] = ends


COMPARABLE = ["data", "images", "extractor", "reference"]
"""Trials are compared only if all of these agree: FID at 1,000 images cannot be compared with FID at 10,000."""


def comparable(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Group the finished trials into sets. Trials of one set can be compared with each other.

    Returns the rows of the largest set, and one line of text for each of the other sets. Trials on random weights have
    no scores and are in no set.
    """
    done = rows[(rows["status"] == "done") & ~rows["random"]]
    if done.empty:
        return done, []
    groups = [part for _, part in done.groupby(COMPARABLE, dropna=False)]
    groups.sort(key=lambda part: (-len(part), -int(part["images"].max())))
    aside = [
        f"{len(part)} with data {part['data'].iloc[0]}, {part['images'].iloc[0]:,} images, extractor "
        f"{part['extractor'].iloc[0]}, reference {str(part['reference'].iloc[0])[:12]}"
        for part in groups[1:]
    ]
    return groups[0], aside


def dicts(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries."""
    names = [str(name) for name in rows.columns]
    columns = (rows.iloc[:, place].tolist() for place in range(len(names)))
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, with means over its seeds.

    Column ``seeds`` has the number of seeds. Column ``keys`` has the keys of the setting's records, one for each seed.
    Columns without a mean are copied from the row of the lowest seed.
    """
    by = ["method", "settings"]
    rows = rows.sort_values("seed", kind="stable")
    groups = rows.groupby(by, sort=False)
    first = rows.drop_duplicates(by).copy()  # in the order of the groups
    first["keys"] = groups["key"].agg(tuple).to_numpy()
    names, sizes = [one.name for one in FIGURES], groups.size().to_numpy()[:, None]
    means = groups[[*names, "steps_std"]].mean().to_numpy()
    for end, sign in ((LOW, -1), (HIGH, 1)):  # seeds are independent: n seeds shrink intervals by root n
        ends = [name + end for name in names]
        off = pd.DataFrame((rows[ends].to_numpy() - rows[names].to_numpy()) ** 2, index=rows.index)
        total = off.groupby([rows[key] for key in by], sort=False).sum(min_count=1).to_numpy()
        first[ends] = means[:, :-1] + sign * total**0.5 / sizes
    first[[*names, "steps_std"]] = means
    first["seeds"] = sizes[:, 0]
    order = first["method"].map(rank).sort_values(kind="stable").index
    return first.loc[order].reset_index(drop=True).copy()  # columns set one by one lie apart in memory until copied


def at_best_guidance(settings: pd.DataFrame) -> pd.DataFrame:
    """Keep the setting of lowest FID among settings that differ only in sampling. Settings without FID are left out."""
    scored = settings[settings["fid"].notna()]
    kinds = scored.groupby(["method", "preset", "knobs", "setup", "submitted"], sort=False)
    return scored.loc[kinds["fid"].idxmin()].reset_index(drop=True)


def leaderboard(settings: pd.DataFrame) -> pd.DataFrame:
    """For each method and preset, the setting of lowest FID; sorted by FID. Submitted records have separate rows.

    A method with sparsity knobs is listed with its best *sparse* setting, since at zero sparsity it is the dense
    network. If the method was measured only at zero, the setting at zero is listed.
    """
    scored = settings[settings["fid"].notna()]
    candidates = scored[~is_dense(scored)]
    missing = scored[~scored["method"].isin(candidates["method"])]
    candidates = pd.concat([candidates, missing])
    best = candidates.loc[candidates.groupby(["method", "preset", "submitted"], sort=False)["fid"].idxmin()]
    return best.sort_values("fid", kind="stable").reset_index(drop=True)


def is_dense(rows: pd.DataFrame) -> "pd.Series[bool]":
    """For each row, whether the method has sparsity knobs and all of them are at zero."""
    present = [f"knob:{name}" for name in SPARSITY if f"knob:{name}" in rows.columns]
    if not present:
        return pd.Series(False, index=rows.index)
    values = rows[present].apply(pd.to_numeric, errors="coerce")
    return values.notna().any(axis=1) & (values.fillna(0) == 0).all(axis=1)
