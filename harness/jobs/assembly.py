"""Puts the record of a trial together from the files that the trial's stages have written."""

from collections.abc import Mapping
from typing import Any

from harness import files, traces
from harness.jobs.plan import Instrument, TrialPlan
from harness.records.store import REPLICATES
from harness.stages.generate.shards import UNKNOWN


def assemble(
    planned: TrialPlan, instrument: Instrument, about: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record of a trial and the record's arrays, put together from the files that the trial's stages have written.

    Each stage writes a file. While the file of the stage ``timing`` is missing, the record has None for ``timing``. A
    trial on random weights has no arrays, and its record has None for ``generate`` and ``quality``.

    about: the part of the provenance that all records of a run share.
    """
    paths = {stage: path for stage, path in planned.stages.items() if path.suffix == ".json"}
    found = {stage: files.read_json(path) for stage, path in paths.items() if stage != "timing" or path.exists()}
    quality = found.get("quality", {})
    code = {"generate": quality["generate"].pop("code", UNKNOWN)} if quality else {}
    code |= {stage: found[stage].pop("code", UNKNOWN) for stage in found}
    if quality and (others := sorted({one for part in code.values() for one in part.split("+")} - {about["code"]})):
        stages = ", ".join(stage for stage, made_by in code.items() if made_by != about["code"])
        quality["quality"]["flags"].append(f"{stages}: made by other code ({', '.join(others)[:60]})")
    if quality and _made_elsewhere(quality["generate"], about):
        flag = f"images were made on {quality['generate']['device']}, and this run was on {about['device']}"
        quality["quality"]["flags"].append(flag)
    record = {
        **heading(planned, "done"),
        "generate": quality.get("generate"),
        "quality": quality.get("quality"),
        "flops": found["flops"]["flops"],
        "timing": found.get("timing"),
        "parameters": found["flops"]["parameters"],
        "provenance": {**origin(planned, instrument, about), "stage_code": code},
    }
    if "generate" not in planned.stages:
        return record, {}
    arrays = files.read_arrays(planned.stages["generate"])
    replicates = files.read_arrays(planned.stages["quality"].with_suffix(".npz"))
    names = ("thumbnails", "labels", "steps", "fingerprints")
    kept: dict[str, Any] = {name: arrays[name] for name in names if name in arrays}
    return record, {
        **kept,
        **traces.kept(arrays),
        **{f"{REPLICATES}{name}": values for name, values in replicates.items()},
    }


def _made_elsewhere(made: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Whether a run has found images that another kind of device had made. Images of a CPU and of a GPU differ here and
    there. made: the part ``generate`` of the record."""
    kinds = {*made.get("device", UNKNOWN).split("+"), str(about.get("device", UNKNOWN)).partition(":")[0]}
    return len(kinds - {UNKNOWN}) > 1


def heading(planned: TrialPlan, status: str) -> dict[str, Any]:
    """The part of the record that is there even if the trial failed."""
    return {
        "name": planned.name,
        "key": planned.key,
        "identity": dict(planned.identity),
        "status": status,
        "failure": None,
        "trial": planned.trial.settings(),
        "data": planned.data,
        "method": {name: getattr(planned.trial.owner, name) for name in ("title", "family", "paper", "differences")},
    }


def origin(planned: TrialPlan, instrument: Instrument, about: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of a record: ``about``, which all records of a run share, and the hashes of the files on which
    this trial depends."""
    references = instrument.references[planned.data] if "quality" in planned.stages else ()
    own = planned.checkpoint
    return {
        **about,
        **({"checkpoint": {"file": str(own), "sha256": planned.weights[own.name]}} if own else {}),
        **({"images_of": {"name": planned.twin.name, "key": planned.twin.key}} if planned.twin else {}),
        "weights": dict(planned.weights),
        "data": references[0].facts["data"] if references else None,
        "reference": references[0].key if references else None,
        "extractors": {one.extractor: one.facts["weights"] for one in references},
    }
