"""How trials were measured, in words, from what their records say."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.progress import counted
from harness.records.setups import setup_of
from harness.stages import clocks
from reports.table import Record, figure


def machine_words(machine: Mapping[str, Any]) -> str:
    """A machine in words: the parts that influence speed, but not the host's name.

    An example is ``Intel Xeon @ 2.20GHz, 2 cores, 24 GB memory, Linux 6.1``.
    """
    words = [str(machine[name]) for name in ("processor",) if machine.get(name)]
    if machine.get("cores"):
        words.append(counted(machine["cores"], "core"))
    if machine.get("memory_mb"):
        words.append(f"{figure(machine['memory_mb'] / 1024, places=0)} GB memory")
    words += [str(machine[name]) for name in ("gpu", "system") if machine.get(name)]
    return ", ".join(words) or "an unnamed machine"


def protocol(records: Iterable[Record]) -> list[tuple[str, str]]:
    """(topic, text) pairs that say how the records were measured.

    Where records differ, every value is given with the number of records that have it.
    """
    records = list(records)

    def said(*path: str) -> str:
        return _said(_at(record, path) for record in records)

    return [  # one topic a line, however long its text
        ("Images", "Unless a row says otherwise, image i has label i mod classes, bytes are round(255 x), and networks "
         "run in float32. All randomness comes from uniforms keyed by (seed, image index, position). Image i is always "
         "computed together with the other images of its compute batch, whose size is part of the setup. So shards, "
         f"workers, order and restarts do not change it. Size of compute batches: {_compute_batches(records)}."),
        ("Extractor", said("quality", "extractor")),
        ("Reference", f"images: {said('quality', 'reference', 'images')}; sha256: {said('provenance', 'reference')}"),
        ("Intervals", "95 %: what other images of the same method would have given; the reference is taken as it is."
         " Groups of images with the same share of every class are drawn again; seeds are taken as independent. FID∞ is"
         f" FID without what a finite number of images adds. {said('quality', 'resampling')}"),
        ("Settings", "Each row lists all knobs of its method and its guidance (cfg is s in u + s (c − u); 1 is none)."
         " Temperature, top-k and top-p are off where they are not listed."),
        ("Guidance", "Of the settings that differ only in sampling, curves and leaderboard take the one of lowest FID."
         " Where a setting has several seeds, its figures are their means."),
        ("Sparsity", "Methods with sparsity knobs are ranked at a sparse setting: at zero they are the dense network."
         " Those zero points are drawn against sparsity only."),
        ("FLOPs", f"FLOPs = 2 × MACs, an image, tokens and decoder together. Convention: {said('flops', 'convention')}."
         f" Counted by: {said('flops', 'counter')}; images counted: {said('flops', 'images_counted')}."),
        ("Latency", "Median time of one image at batch 1, tokens and decoder together; the two parts stand below it."),
        ("Throughput", f"Images a second in batches of {said('timing', 'throughput', 'batch')}, decoder included."),
        ("Clocks", "On CUDA, work is captured in a graph once and replayed, so that times are the method's and not"
         " Python's. Eager times are of the same method without this. They have columns of their own. A row whose work"
         f" cannot be captured is timed eager, and says why. Timed as: {_clocks(records)}."),
        ("Floor", "The least time of a batch for its bytes and FLOPs, at the memory bandwidth and matrix rate that the"
         " device showed at the start of the timing session: for each step the longer of the two, summed over the steps"
         f" and the decoder. Convention: {said('flops', 'bytes', 'convention')}."),
        ("Speed-up", "Time saved, round by round, stands beside FLOPs saved; both against the family's dense method"
         " (var for next-scale, raster for others) at its best setting. Rows that were timed in different ways"
         " (captured, compiled, eager) have no time saved, except for a row that cannot be captured, which says so."),
        ("Timing", f"{said('timing', 'protocol')}; threads: {said('timing', 'threads')}; "
         f"threads wait: {said('timing', 'wait_policy')}; "
         f"device: {said('timing', 'device')}"),
        ("Seeds and images", f"seed: {said('trial', 'seed')}; images a trial: {said('trial', 'images')}"),
        ("Machine", _said(machine_words(m) for m in (_at(r, ("provenance", "machine")) for r in records) if m)),
        ("Commit", said("provenance", "commit")),
        ("Lock file", said("provenance", "lock")),
        ("Versions", said("provenance", "versions")),
        ("Data", f"sha256 {said('provenance', 'data')}"),
        ("Weights", _weights(records)),
        ("Command", _said(" ".join(map(str, c)) for c in (_at(r, ("provenance", "command")) for r in records) if c)),
    ]  # fmt: skip


def _at(record: Any, path: Iterable[str]) -> Any:
    for name in path:
        if not isinstance(record, Mapping) or name not in record:
            return None
        record = record[name]
    return record


def _said(values: Iterable[Any]) -> str:
    counts: dict[str, int] = {}
    for value in values:
        if value is not None:
            counts[_words(value)] = counts.get(_words(value), 0) + 1
    if not counts:
        return "not recorded"
    if len(counts) == 1:
        return next(iter(counts))
    most = sorted(counts.items(), key=lambda item: -item[1])
    return "; ".join(f"{words} ({counted(count, 'record')})" for words, count in most)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def _compute_batches(records: Iterable[Record]) -> str:
    return _said(setup_of(record).get("compute_batch") for record in records)


def _clocks(records: Iterable[Record]) -> str:
    return _said(clocks.in_words(record.get("timing") or {}) or None for record in records)


def _weights(records: Iterable[Record]) -> str:
    named = (_at(record, ("provenance", "weights")) or {} for record in records)
    found = {f"{file} {digest[:16]}" for weights in named for file, digest in weights.items()}
    return ", ".join(sorted(found)) or "not recorded"
