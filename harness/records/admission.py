"""Decides whether a record from somewhere else is admitted. The record's schema, hashes and plausibility are checked.

Some values of a record follow from other values of the same record. These values are checked:

- The record's key must be the digest of ``identity``. This part of a record holds everything on which the record
  depends.
- The multiply-adds must be the sum over their parts, and the FLOPs twice the multiply-adds.
- A median time must be the median of the record's samples.
- The interval of a score must be the one that the score's replicates give. A replicate is the value of the score in one
  draw of the bootstrap.

Whether a record is true is not decided here. ``arbench verify`` finds this out by running the trial again.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, NoReturn

import numpy as np

from harness import registry
from harness.errors import ArbenchError
from harness.hashing import digest
from harness.method import PARTS
from harness.numbers import is_number
from harness.records import schema, shape
from harness.records.packs import Arrays
from harness.records.store import REPLICATES, Record
from harness.sampling import SAMPLING_FIELDS
from harness.setup import SETUP_FIELDS
from harness.stages import clocks
from harness.stages.figures import FIGURES, figure_named, flat, scores
from harness.stages.quality.resampling import interval
from harness.stages.timing.summary import percentiles
from harness.trial import ASKED, Trial

PARTS_OF_A_RECORD = frozenset(shape.Record.__struct_fields__) - {"submission", "foreign"}
ABOUT = shape.About.__struct_fields__
ARRAYS = ("labels", "steps", "thumbnails")
"""The arrays that travel with a record, beside the bootstrap replicates of its scores. Others (traces) do not
travel."""
MOST_IMAGES, MOST_THUMBNAILS, LARGEST_SIDE, LONGEST_WHY = 10**7, 64, 512, 500
ANY = (-1e18, 1e18)
"""Possible values of a figure that states no range."""
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
KNOB = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
WORD = re.compile(r"[A-Za-z0-9_.+-]{1,60}", re.ASCII)
LATER = {"tf32", "compute_batch"}
"""Fields of a setup that records of earlier versions do not have (harness/records/setups.py)."""
HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
CANONICAL = re.compile(r"[a-z0-9-]{1,40}\[[A-Za-z0-9_.,=+%-]{1,400}\]", re.ASCII)


def check(record: Record, arrays: Arrays) -> None:
    """Raises ArbenchError, with the reason, if a record (as ``packs.read`` returns it) is not admitted."""
    try:
        _whole(record, arrays)
    except ArbenchError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ArbenchError(f"the record is not of our schema ({type(error).__name__}: {error})") from error


def _whole(record: Record, arrays: Arrays) -> None:
    if set(record) != PARTS_OF_A_RECORD:
        odd = sorted(set(record) ^ PARTS_OF_A_RECORD)[0]
        _refuse(
            f"{odd[:40]!r} is {'missing (an older arbench?)' if odd in PARTS_OF_A_RECORD else 'no part of a record'}"
        )
    if record["status"] != "done" or record["failure"] is not None:
        _refuse("the trial did not finish")
    if record["timing"] is None:
        _refuse("there is no timing (run it again without --no-timing)")
    schema.check(record)
    _trial(record)
    _identity(record)
    for name in ABOUT:
        if not isinstance(record["method"][name], str) or len(record["method"][name]) > 500:
            _refuse(f"method: {name} is no text of up to 500 characters")
    if set(record["method"]) != set(ABOUT):
        _refuse("method: tells other things than title, family, paper and differences")
    _provenance(record["provenance"])
    _scores(record["quality"], arrays)
    _flops(record["flops"], record["parameters"])
    _timing(record["timing"])
    _costs(record)
    _images(record, arrays)


def _trial(record: Record) -> None:
    trial = record["trial"]
    if (
        set(trial) != set(ASKED)
        or set(trial["sampling"]) != set(SAMPLING_FIELDS)
        or not set(SETUP_FIELDS) - LATER <= set(trial["setup"]) <= set(SETUP_FIELDS)
    ):
        _refuse("trial: its settings are not those of a trial")
    for what in (trial["method"], trial["preset"], record["data"]):
        if not isinstance(what, str) or not NAME.fullmatch(what):
            _refuse(f"{str(what)[:40]!r} is no name of a method, preset or data set")
    for name, value in trial["knobs"].items():
        if not KNOB.fullmatch(name) or not (
            WORD.fullmatch(value) if isinstance(value, str) else _number(value, -1e12, 1e12)
        ):
            _refuse(f"knob {name[:40]!r} = {str(value)[:40]!r} is none")
    images = trial["images"]
    if isinstance(images, bool) or not isinstance(images, int) or not 1 <= images <= MOST_IMAGES:
        _refuse(f"trial: {images!r} images")
    if trial["setup"]["weights"] == "random":
        _refuse("trial: on random weights there is nothing to be compared")
    if trial["setup"]["weights"] != "trained":
        _refuse("trial: it is on weights of somebody's own, which nobody else can run")
    name = record["name"]
    if not isinstance(name, str) or not CANONICAL.fullmatch(name):
        _refuse(f"{str(name)[:60]!r} is no canonical name")
    if not name.startswith(f"{trial['method']}[preset={trial['preset']},") or not name.endswith(
        f"seed={trial['seed']}]"
    ):
        _refuse(f"{name[:60]!r} is the name of another trial")
    if trial["method"] in registry.names() and Trial.of(**trial).name != name:
        _refuse(f"{name[:60]!r} is the name of another trial (this is {Trial.of(**trial).name[:60]!r})")


def _identity(record: Record) -> None:
    key, identity = record["key"], record["identity"]
    if not isinstance(key, str) or not HEX.fullmatch(key):
        _refuse("key: no sha256")
    if digest(identity) != key:
        _refuse("key: it is not the digest of what the record says it was made of")
    made, provenance = identity["generate"], record["provenance"]
    if any(made[name] != record["trial"][name] for name in ASKED):
        _refuse("key: it was made of other settings than the trial's")
    if made["weights"] != provenance["weights"] or made["extractors"] != provenance["extractors"]:
        _refuse("key: it was made of other weights than the provenance names")
    if identity["quality"]["references"][0] != provenance["reference"]:
        _refuse("key: it was made with another reference than the provenance names")
    if identity["timing"]["protocol"] != record["timing"]["protocol"]:
        _refuse("key: it was made under another timing protocol than the record's")


def _provenance(provenance: Mapping[str, Any]) -> None:
    finished = datetime.fromisoformat(provenance["finished"])
    if finished.tzinfo is None or finished > datetime.now(UTC) + timedelta(days=1):
        _refuse("provenance: finished in the future, or nobody knows when")
    for sha256 in (*provenance["weights"].values(), *provenance["extractors"].values(), provenance["reference"]):
        if not isinstance(sha256, str) or not HEX.fullmatch(sha256):
            _refuse("provenance: a hash is none")
    for name in ("commit", "code"):
        if not isinstance(provenance[name], str) or not WORD.fullmatch(provenance[name][:60]):
            _refuse(f"provenance: {name} is none")
    if not provenance["machine"].get("system") or not provenance["versions"].get("torch"):
        _refuse("provenance: machine or versions are missing")


def _scores(quality: Mapping[str, Any], arrays: Arrays) -> None:
    if not isinstance(quality["extractor"], str) or not WORD.fullmatch(quality["extractor"]):
        _refuse("quality: extractor has no name")
    if quality["extractor"] not in quality["fid"]:
        _refuse("quality: no FID of its own extractor")
    for figure in scores():
        found, (low, high) = quality.get(figure.name), figure.valid or ANY
        for value in found.values() if isinstance(found, dict) else (found,):
            if value is not None and not _number(value, low, high):
                _refuse(f"quality: {figure.name} = {str(value)[:40]} (possible: {low:g} to {high:g})")
    values, ends = flat(quality), flat(quality["intervals"])
    for name, pair in ends.items():
        if len(pair) != 2 or not all(_number(end, -1e6, 1e6) for end in pair) or pair[0] > pair[1]:
            _refuse(f"quality: the interval of {name[:40]} is none")
    for key, drawn in arrays.items():
        name = key.removeprefix(REPLICATES)
        if name == key:
            continue
        if drawn.dtype != np.float32 or drawn.shape != (1000,) or not np.isfinite(drawn).all():
            _refuse(f"{key[:60]}: not 1,000 numbers in float32")
        if name not in ends or not isinstance(values.get(name), int | float):
            _refuse(f"{key[:60]}: of a figure that has no interval")
        slack = 1e-3 * (ends[name][1] - ends[name][0]) + 1e-5 * abs(values[name]) + 1e-9
        drawn_ends = interval(values[name], drawn.astype(np.float64))
        if any(abs(one - other) > slack for one, other in zip(ends[name], drawn_ends, strict=True)):
            _refuse(f"quality: the interval of {name} is not that of its replicates")
    if lacking := [name for name in ends if REPLICATES + name not in arrays]:
        _refuse(f"quality: the interval of {lacking[0][:40]} has no replicates")


def _flops(flops: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    macs = flops["macs"]
    if not _number(macs, 1, 1e18) or not _near(flops["flops"], 2 * macs, 1e-9):
        _refuse("flops: they are not twice the MACs")
    if not set(flops["by_part"]) <= set(PARTS) or not all(_number(one, 0, 1e18) for one in flops["by_part"].values()):
        _refuse(f"flops: parts are not of {', '.join(PARTS)}")
    if not _near(sum(flops["by_part"].values()), macs, 1e-3):
        _refuse("flops: their parts do not make the whole")
    if not _near(flops["tokens_macs"] + flops["decoder_macs"], macs, 1e-3):
        _refuse("flops: tokens and decoder do not make the whole")
    _bytes(flops)
    for name in ("network", "tokenizer"):
        if not _number(parameters[name], 0, 1e13):
            _refuse(f"parameters: {name} = {str(parameters[name])[:40]}")


def _bytes(flops: Mapping[str, Any]) -> None:
    read = flops.get("bytes")
    if read is None:  # the record is older than they are
        return
    for name in ("weights", "cache"):
        if len(read[name]) != len(flops["by_step"]) or not all(_number(one, 0, 1e18) for one in read[name]):
            _refuse(f"flops: bytes of {name} are not one number for each step")
    if not _number(read["decoder"], 0, 1e18):
        _refuse(f"flops: bytes of the decoder are {str(read['decoder'])[:40]}")


def _costs(record: Record) -> None:
    """Refuses figures other than scores if they, or the ends of their intervals, are out of range."""
    for figure in FIGURES:
        if figure.of_quality:
            continue
        valid = figure.valid or ANY
        low, high = (figure.scale * end for end in valid)
        found, ends = figure.value(record, ""), figure.ends(record, "")
        if found is not None and not _number(found, low, high):
            _refuse(f"{figure.name} = {found / figure.scale:g} (possible: {valid[0]:g} to {valid[1]:g})")
        if ends is not None and not (all(_number(end, low, high) for end in ends) and ends[0] <= ends[1]):
            _refuse(f"{figure.name}: its interval is none")


def _timing(timing: Mapping[str, Any]) -> None:
    rates = timing.get("rates")
    if rates is not None and not all(_number(rates[name], 1, 1e18) for name in ("bandwidth", "matrix")):
        _refuse("timing: rates of the device are not bytes and FLOPs a second")
    _clock(timing, "")
    if timing.get("eager") is not None:
        _clock(timing["eager"], "eager ")
    if len(timing.get("eager_why") or "") > LONGEST_WHY:
        _refuse(f"timing: why there are no eager times takes more than {LONGEST_WHY} characters")
    _joules(timing["throughput"])
    capture = timing.get("capture")
    if capture is None:  # the method ran as it is, or the record is older than capturing
        return
    if capture["mode"] not in clocks.CLOCKS:
        _refuse(f"timing: capture has mode {str(capture['mode'])[:40]!r} (valid: {', '.join(clocks.CLOCKS)})")
    if not _number(capture["alike"], 0, 1):
        _refuse(f"timing: capture has {str(capture['alike'])[:40]} of the images alike (possible: 0 to 1)")
    if not isinstance(capture["why"], str | None) or len(capture["why"] or "") > LONGEST_WHY:
        _refuse(f"timing: why it was not captured is no text of up to {LONGEST_WHY} characters")


def _clock(clock: Mapping[str, Any], name: str) -> None:
    """Checks the times of one clock. name: of the clock, followed by a space; "" for the first clock."""
    for kind in ("latency", "throughput"):
        _timed(clock[kind], f"{name}{kind}")
    many = clock["throughput"]
    if not _near(many["images_per_s"] * many["total_s"], many["batch"], 1e-6):
        _refuse(f"timing: {name}images a second are not those of the batch's seconds")


def _timed(timed: Mapping[str, Any], kind: str) -> None:
    samples = timed["samples"]
    if not samples or not all(_number(one, 1e-9, 1e6) for one in samples):
        _refuse(f"timing: samples of {kind} are not seconds")
    counted = (timed.get("disturbances") or {}).values()
    if any(found is not None and len(found) != len(samples) for found in counted):
        _refuse(f"timing: what disturbed {kind} is not one number for each sample")
    pace = timed.get("pace")
    if pace is not None and not (len(pace) == len(samples) and all(_number(one, 1e-3, 1e3) for one in pace)):
        _refuse(f"timing: the pace of {kind} is not one for each sample")
    if len(timed.get("why") or "") > LONGEST_WHY:
        _refuse(f"timing: why {kind} is noisy takes more than {LONGEST_WHY} characters")
    low, high = timed["interval"]
    if not _near(timed["total_s"], median(samples), 1e-6) or not low <= timed["total_s"] <= high:
        _refuse(f"timing: {kind} is not the median of its samples")
    given, true = timed.get("percentiles") or {}, percentiles(samples)
    for name, value in given.items():
        wanted = true.get(name)  # None: no percentile of ours, or too few samples for it
        if value is not None and (wanted is None or not _near(value, wanted, 1e-6)):
            _refuse(f"timing: percentiles of {kind} are not those of its samples")


def _joules(throughput: Mapping[str, Any]) -> None:
    joules, ends = throughput.get("joules_per_image"), throughput.get("joules_per_image_interval")
    low, high = figure_named("joules").valid or ANY
    if ends is not None and not (len(ends) == 2 and all(_number(end, low, high) for end in ends)):
        _refuse("timing: the interval of joules an image is none")
    if len(throughput.get("joules_per_image_why") or "") > LONGEST_WHY:
        _refuse(f"timing: why joules an image are unknown takes more than {LONGEST_WHY} characters")
    if joules is not None and joules != 0.0 and not _number(joules, low, high):  # 0.0: older records knew none
        _refuse(f"timing: {str(joules)[:40]} joules an image (possible: {low:g} to {high:g})")
    if ends is not None and (joules is None or not ends[0] <= joules <= ends[1]):
        _refuse("timing: joules an image lie outside their interval")


def _images(record: Record, arrays: Arrays) -> None:
    images, made = record["trial"]["images"], record["generate"]
    shapes = {name: (arrays[name].dtype.name, arrays[name].shape) for name in ARRAYS}
    for name in ("labels", "steps"):
        if shapes[name] != ("int64", (images,)) or arrays[name].min() < 0 or arrays[name].max() > 10**6:
            _refuse(f"{name}: not one for each of {images} images")
    if made["images"] != images or not _near(made["steps_mean"], float(arrays["steps"].mean()), 1e-6):
        _refuse("generate: images or steps are not those of the arrays")
    kind, shape = shapes["thumbnails"]
    if kind != "uint8" or len(shape) != 4 or not 1 <= shape[0] <= MOST_THUMBNAILS or shape[1] not in (1, 3):
        _refuse(f"thumbnails: {kind} {shape} (valid: uint8 [up to {MOST_THUMBNAILS}, 1 or 3, H, W])")
    if not all(1 <= side <= LARGEST_SIDE for side in shape[2:]):
        _refuse(f"thumbnails: {shape[2]} by {shape[3]} pixels (valid: up to {LARGEST_SIDE} a side)")
    if odd := [name for name in arrays if name not in shapes and not name.startswith(REPLICATES)]:
        _refuse(f"{odd[0][:40]!r} is no array of a record")


def _number(value: Any, low: float, high: float) -> bool:
    return is_number(value) and low <= value <= high


def _near(value: Any, wanted: float, relative: float) -> bool:
    return _number(value, -1e18, 1e18) and abs(value - wanted) <= relative * abs(wanted) + 1e-12


def _refuse(reason: str) -> NoReturn:
    raise ArbenchError(reason)
