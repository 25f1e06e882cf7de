"""The floor of an image: the least time that its bytes and FLOPs need on a device, and the share of it that is reached.

A step takes at least as long as the device needs to read the step's bytes, and at least as long as it needs for the
step's FLOPs. The floor of a step is the longer of the two. The floor of a batch is the sum over the steps, and the
decoder comes last. Weights are read once a step, whatever the batch; keys and values, and FLOPs, grow with the batch.

If all that a step reads fits into the device's last cache, it need not come from memory. Then only FLOPs count.

Code that only reads records can import this module alone, without torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Ends = tuple[float, float]


@dataclass(frozen=True)
class Device:
    """What a device can do, as harness.machine.rates measures it."""

    bandwidth: float  # bytes a second
    matrix: float  # FLOPs a second, of matrix products
    cache: float = 0.0  # bytes of the last cache; 0 if unknown


@dataclass(frozen=True)
class Work:
    """What an image costs."""

    weights: Sequence[float]  # bytes of weights that each step reads, whatever the batch
    cache: Sequence[float]  # bytes of keys and values that each step reads, for each image
    macs: Sequence[float]  # multiply-adds of each step, for each image
    decoder_weights: float  # bytes, whatever the batch
    decoder_macs: float  # for each image

    @classmethod
    def of(cls, flops: Mapping[str, Any]) -> "Work | None":
        """The work, from the ``flops`` part of a record. None if the record has no bytes, because it is older than they
        are, or if its bytes do not fit its steps."""
        read, macs = flops.get("bytes") or {}, flops.get("by_step") or []
        weights, cache = read.get("weights") or [], read.get("cache") or []
        if not macs or not len(weights) == len(cache) == len(macs):
            return None
        if read.get("decoder") is None or flops.get("decoder_macs") is None:
            return None
        return cls(weights, cache, macs, read["decoder"], flops["decoder_macs"])


def seconds(work: Work, device: Device, batch: int) -> float:
    """The floor of a batch of ``batch`` images, in seconds."""
    return tokens_seconds(work, device, batch) + decoder_seconds(work, device, batch)


def tokens_seconds(work: Work, device: Device, batch: int) -> float:
    """The part of the floor that sampling has, in seconds."""
    steps = zip(work.weights, work.cache, work.macs, strict=True)
    return sum(_step(weights + batch * cache, batch * macs, device) for weights, cache, macs in steps)


def decoder_seconds(work: Work, device: Device, batch: int) -> float:
    """The part of the floor that the decoder has, in seconds."""
    return _step(work.decoder_weights, batch * work.decoder_macs, device)


def _step(read: float, macs: float, device: Device) -> float:
    from_memory = read if read > device.cache else 0.0
    return max(from_memory / device.bandwidth, 2 * macs / device.matrix)


def floor(record: Mapping[str, Any], kind: str) -> float | None:
    """The floor of one batch of a record, in seconds.

    kind: ``latency`` or ``throughput``. It stands for the batch size that the record was timed with.

    None if the record lacks bytes, times, or rates of its device.
    """
    timing = record.get("timing") or {}
    work, rates, timed = Work.of(record.get("flops") or {}), timing.get("rates") or {}, timing.get(kind) or {}
    bandwidth, matrix = rates.get("bandwidth") or 0.0, rates.get("matrix") or 0.0
    if work is None or not bandwidth > 0 or not matrix > 0 or not timed.get("batch"):
        return None
    device = Device(bandwidth, matrix, rates.get("cache") or 0.0)
    return seconds(work, device, timed["batch"])


def share(record: Mapping[str, Any], kind: str) -> float | None:
    """The floor divided by the measured time; 1 if the floor is reached. None if one of the two is not known."""
    least, taken = floor(record, kind), ((record.get("timing") or {}).get(kind) or {}).get("total_s")
    return None if least is None or not taken else least / taken


def share_ends(record: Mapping[str, Any], kind: str) -> Ends | None:
    """The interval of ``share``, from the interval of the time. None if one of the two is not known."""
    least, ends = floor(record, kind), ((record.get("timing") or {}).get(kind) or {}).get("interval")
    return None if least is None or not ends or not min(ends) > 0 else (least / ends[1], least / ends[0])
