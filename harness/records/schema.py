"""The kind of value that each part of a record has. Pages and tables rely on it, whoever wrote the record."""

from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import ArbenchError
from harness.stages.figures import scores

KINDS: Mapping[str, str] = {
    "": "name:text key:text identity:object status:text failure:object trial:object data:text method:object "
    "generate:object quality:object flops:object timing:object parameters:object provenance:object submission:object",
    "failure": "stage:text reason:text log:text",
    "trial": "method:text preset:text knobs:settings sampling:settings seed:whole images:whole setup:settings",
    "method": "title:text family:text paper:text differences:text",
    "generate": "images:number steps_mean:number steps_std:number seconds:number",
    "quality": "intervals:pairs resampling:object flags:texts extractor:text reference:object version:number "
    + " ".join(f"{figure.name}:{'numbered' if figure.by_extractor else 'number'}" for figure in scores()),
    "flops": "macs:number flops:number macs_std:number by_part:numbered by_step:numbers tokens_macs:number "
    "decoder_macs:number data_dependent:flag images_counted:number counter:text convention:text",
    "timing": "latency:object throughput:object peak_memory_mb:number peak_memory_rise_mb:number "
    "peak_memory_scope:text noisy:flag device:text threads:number wait_policy:text conditions:objects "
    "protocol:object session:text machine:object",
    "timing.latency": "total_s:number tokens_s:number decoder_s:number interval:numbers coverage:number noisy:flag "
    "batch:number samples:numbers decoder_samples:numbers joules_per_image:number ended:text disturbances:columns "
    "pace:numbers why:text",
    "timing.throughput": "total_s:number tokens_s:number decoder_s:number interval:numbers coverage:number noisy:flag "
    "batch:number samples:numbers decoder_samples:numbers joules_per_image:number images_per_s:number "
    "images_per_s_interval:numbers ended:text disturbances:columns pace:numbers why:text",
    "parameters": "network:number tokenizer:number",
    "provenance": "commit:text dirty:flag code:text lock:text machine:object versions:object command:texts "
    "started:text finished:text weights:object data:text reference:text extractors:object stage_code:object "
    "device:text images_of:object checkpoint:object",
    "provenance.machine": "host:text processor:text cores:number memory_mb:number gpu:text system:text",
    "submission": "by:text made:text file:text imported:text verified:object",
}
"""The parts of each section of a record, and their kinds. Any part may be missing or null."""
NEEDED: Mapping[str, tuple[str, ...]] = {"": ("name", "key", "status", "trial"), "trial": ("images",)}
"""Parts that every record must have."""
FINISHED: Mapping[str, tuple[str, ...]] = {
    "trial": ("method", "preset", "knobs", "sampling", "seed"),
    "generate": ("images", "steps_mean"),
    "quality": ("extractor", "fid", "intervals"),
    "flops": ("macs",),
    "provenance": ("weights", "extractors"),
}
"""Parts that the record of a finished trial with scores must have."""


def check_kinds(record: Any, section: str) -> None:
    """Raises ArbenchError if a part of a record's section is not of its kind. A missing section is
    accepted."""
    found = record
    for name in section.split(".") if section else ():
        found = found.get(name)
        if found is None:
            return
    if not isinstance(found, dict):
        raise ArbenchError(f"{section or 'the record'}: it is no object")
    for name, kind in _OF[section].items():
        value = found.get(name)
        if value is not None and not _IS[kind](value):
            raise ArbenchError(f"{section or 'the record'}: {name} is not {kind}")


def check(record: Any) -> None:
    """Raises ArbenchError if this is no record of a store. The values of figures are not checked."""
    for section in KINDS:
        check_kinds(record, section)
    _check_there(record, NEEDED)


def check_finished(record: Any) -> None:
    """Raises ArbenchError if this is not the record of a finished trial with scores."""
    check(record)
    if record["status"] != "done":
        raise ArbenchError("the trial did not finish")
    _check_there(record, FINISHED)


def check_facts(found: Any) -> None:
    """Raises ArbenchError if these are not the facts of a store (harness/run/limits.py)."""
    right = isinstance(found, dict) and all(
        found.get(name) is None or _is_number(found[name]) for name in ("is", "label_accuracy")
    )
    tokenizers = (found.get("tokenizers") or {}) if right else None
    if not isinstance(tokenizers, dict) or not all(_is_table(one, (int, float, str)) for one in tokenizers.values()):
        raise ArbenchError("it does not tell of reference images and tokenizers")
    if any(isinstance(one.get("rfid"), str) for one in tokenizers.values()):
        raise ArbenchError("rfid is not number")


def _check_there(record: Mapping[str, Any], needed: Mapping[str, tuple[str, ...]]) -> None:
    for section, names in needed.items():
        found = (record.get(section) or {}) if section else record
        for name in names:
            if found.get(name) is None:
                raise ArbenchError(f"{section or 'the record'}: {name} is missing")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: Any, kind: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(kind, value))


def _is_table(value: Any, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, dict) and all(one is None or isinstance(one, kinds) for one in value.values())


def _is_pairs(value: Any) -> bool:
    """Whether this is an interval, or a dict of intervals, which may be nested."""
    if isinstance(value, dict):
        return all(one is None or _is_pairs(one) for one in value.values())
    return _is_list(value, _is_number) and len(value) == 2


_OF = {section: dict(part.split(":") for part in kinds.split()) for section, kinds in KINDS.items()}
_IS: Mapping[str, Callable[[Any], bool]] = {
    "number": _is_number,
    "whole": lambda value: type(value) is int,
    "text": lambda value: isinstance(value, str),
    "flag": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "settings": lambda value: _is_table(value, (int, float, str)),
    "numbered": lambda value: _is_table(value, (int, float)),
    "columns": lambda value: (
        isinstance(value, dict) and all(one is None or _is_list(one, _is_number) for one in value.values())
    ),
    "pairs": lambda value: isinstance(value, dict) and _is_pairs(value),
    "numbers": lambda value: _is_list(value, _is_number),
    "texts": lambda value: _is_list(value, lambda one: isinstance(one, str)),
    "objects": lambda value: _is_list(value, lambda one: isinstance(one, dict)),
}
