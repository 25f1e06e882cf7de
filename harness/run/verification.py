"""``arbench verify``: runs a record's trial again and says whether the results in the record are reproduced."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from harness import files
from harness.errors import ArbenchError, shown
from harness.identity import provenance
from harness.records import schema
from harness.records.comparison import EXACT
from harness.records.setups import made_on
from harness.records.store import Record, Store
from harness.run.driver import Options, run
from harness.run.selection import on_own_weights, only
from harness.stages.figures import flat
from harness.sweep import Sweep
from harness.trial import ASKED, Trial

ROUNDING = 1e-9
"""Tolerance at the ends of an interval, for rounding. An interval can have no width, for example if
the recall is the same in all draws of the bootstrap."""
BUNDLED = Path(__file__).parents[1] / "records" / "bundled"


def read(path: Path) -> Record:
    """A finished record from its file. Raises ArbenchError if the file holds no finished record."""
    record = files.read_json(path)
    if record is None and not path.exists():
        raise ArbenchError(f"cannot read {path}: there is no such file")
    if isinstance(record, dict) and "foreign" in record:
        raise ArbenchError(f"{path} is of foreign samples: another program made them, so they cannot be made again")
    if not isinstance(record, dict) or record.get("status") != "done" or not record.get("quality"):
        raise ArbenchError(f"{path} is no record of a finished trial with scores")
    return _whole(record, path)


def made_elsewhere(record: Record, device: str) -> str:
    """A note that a record was made on another type of device, for example on a GPU, but is verified on ``device``, for
    example a CPU. The note is empty if both devices are of the same type.

    Another type of device can draw a few tokens differently. So ``verify`` does not demand that new results equal the
    record's: the new scores must lie in the record's intervals, and FLOPs and steps must agree to a thousandth.
    """
    made = made_on(record)
    here = device.partition(":")[0]
    return "" if made == here else f"made on {made}, verified on {here}: scores within their intervals"


def again(records: list[Record], options: Options, stream: TextIO | None = None) -> list[list[str]]:
    """Run the trials of records again, in a temporary folder. Returns one list for each record. The list says in words
    what was not reproduced; it is empty if everything was reproduced."""
    asked = [
        Trial.of(**{name: record["trial"][name] for name in ASKED if name in record["trial"]}) for record in records
    ]
    trials = on_own_weights(asked, options.checkpoints)
    options = replace(options, timing=False)  # time depends on the machine and is not verified
    with tempfile.TemporaryDirectory(prefix="arbench-verify-") as folder:
        store = Store(Path(folder))
        extractors = {record["quality"]["extractor"] for record in records}
        found: dict[tuple[str, int], Record] = {}
        for extractor in sorted(extractors):
            own = tuple(
                trial
                for trial, record in zip(trials, records, strict=True)
                if record["quality"]["extractor"] == extractor
            )
            run(Sweep("verify", own, extractor), store, options, stream)
            found |= {(made["name"], made["trial"]["images"]): made for made in store.records()}
    return [_faults(record, found[trial.name, trial.images]) for record, trial in zip(records, trials, strict=True)]


def _whole(record: Record, path: Path) -> Record:
    """Check that a record can be compared with a new run of its trial; returns the record. Raises ArbenchError if a
    part that will be compared is missing, or if the record's name is not the name of its trial."""
    try:
        schema.check_finished(record)
        name = Trial.of(**{name: record["trial"][name] for name in ASKED if name in record["trial"]}).name
        if name != record["name"]:
            raise ArbenchError(f"its trial is {name}, its name {shown(record['name'])}")
    except ArbenchError as error:
        raise ArbenchError(f"{path} is no record of a finished trial with scores: {error}") from error
    return record


def _faults(record: Record, made: Record) -> list[str]:
    if made["status"] != "done":
        return [f"the trial failed: {made['failure']['reason']}"]
    faults = [
        f"{what}: {name} is {str(after.get(name))[:12]}, was {str(sha)[:12]}"
        for what in ("weights", "extractors")
        for after in [made["provenance"][what]]
        for name, sha in record["provenance"][what].items()
        if after.get(name) != sha
    ]
    for what in ("data", "reference"):
        if made["provenance"][what] != record["provenance"][what]:
            faults.append(f"{what}: the reference is another one")
    return faults + _scores(record["quality"], made["quality"]) + _exact(record, made)


def _scores(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    values, now, intervals = flat(before), flat(after), flat(before["intervals"])
    return [
        f"{name} is {now.get(name)}, outside {low:.6g} to {high:.6g} (it was {values[name]:.6g})"
        for name, (low, high) in intervals.items()
        if now.get(name) is None or not low - ROUNDING <= now[name] <= high + ROUNDING
    ]


def _exact(before: Record, after: Record) -> list[str]:
    found = []
    for part, name in (("flops", "macs"), ("generate", "steps_mean")):
        was, now = before[part][name], after[part][name]
        if abs(now - was) > EXACT * abs(was):
            found.append(f"{part}: {name} is {now:.6g}, was {was:.6g}")
    return found


def verify(
    store: Store, options: Options, patterns: Sequence[str] = (), stream: TextIO | None = None
) -> list[tuple[Record, list[str]]]:
    """Run the trials of submitted records again, one after another. Records that are verified already are left out.

    If all results of a record are reproduced, ``verify`` adds the time, the commit and the machine of this verification
    to the part ``submission`` of the record in the store. Returns each record with a list of everything that was not
    reproduced. Times are not verified: they belong to the submitter's machine.
    """
    found = []
    waiting = [one for one in store.all_records() if one.get("submission") and not one["submission"]["verified"]]
    for record in only(patterns, waiting, lambda one: str(one["name"])):
        try:
            (faults,) = again([record], options, stream)
        except ArbenchError as error:
            faults = [str(error)]
        if not faults:
            about: dict[str, Any] = provenance.gather()
            verified = {"at": provenance.now(), "commit": about["commit"], "machine": about["machine"]}
            store.write({**record, "submission": {**record["submission"], "verified": verified}})
        found.append((record, faults))
    return found
