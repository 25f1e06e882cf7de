"""Made-up records of a CUDA device, with a captured and an eager clock."""

import copy
from typing import Any

import numpy as np

from harness.stages.timing.summary import TAIL_ROUNDS, percentiles
from tests.helpers.fakes_store import Record

ROUNDS = TAIL_ROUNDS + 4
SLOWER = 5.0
"""Eager times are so many times as long as captured ones."""
CONTENT = "not captured: how much work there is depends on what is generated"
SETUP: Record = {"precision": "bf16", "labels": "balanced", "uint8": "round", "weights": "trained"}
SETUP |= {"tf32": "off", "compute_batch": 64}


def on_cuda(record: Record, mode: str = "graph", why: str | None = None) -> Record:
    """A copy of a finished record that was timed on CUDA.

    mode: in which the method ran: ``graph``, ``compile``, or ``off``
    why: in mode ``off``, why it was not captured; None if the protocol asks for no capturing
    """
    made = copy.deepcopy(record)
    made["trial"]["setup"], made["provenance"]["device"] = dict(SETUP), "cuda"
    timing = made["timing"]
    asked = "graph" if why else mode
    timing |= {"device": "cuda:0", "protocol": {**timing["protocol"], "capture": asked}, "eager": None}
    captured = {"mode": mode, "why": why, "seconds": 2.0, "alike": 1.0}
    timing["capture"] = None if asked == "off" else captured
    for kind in ("latency", "throughput"):
        timing[kind] = _rounds(timing[kind])
    if mode != "off":
        timing["eager"] = {kind: _slower(timing[kind]) for kind in ("latency", "throughput")}
    return made


def _rounds(timed: Record) -> Record:
    """The same times, of ROUNDS rounds whose slowest is twice as long as usual."""
    scatter = np.random.default_rng(0).normal(1, 0.002, ROUNDS)
    scatter[7] = 2.0
    samples = (timed["total_s"] * scatter).tolist()
    middle = float(np.median(samples))
    found: dict[str, Any] = {"total_s": middle, "interval": [0.999 * middle, 1.001 * middle]}
    if "images_per_s" in timed:
        found["images_per_s"] = timed["batch"] / middle
        found["images_per_s_interval"] = [timed["batch"] / end for end in reversed(found["interval"])]
    decoder = {"decoder_samples": [timed["decoder_s"]] * ROUNDS}
    return {**timed, **found, **decoder, "samples": samples, "percentiles": percentiles(samples)}


def _slower(timed: Record) -> Record:
    """Times that are SLOWER times as long."""
    times = {name: SLOWER * timed[name] for name in ("total_s", "tokens_s", "decoder_s")}
    lists = {name: [SLOWER * one for one in timed[name]] for name in ("interval", "samples", "decoder_samples")}
    found = {**timed, **times, **lists, "percentiles": percentiles(lists["samples"])}
    if "images_per_s" in timed:
        found["images_per_s"] = timed["images_per_s"] / SLOWER
        found["images_per_s_interval"] = [end / SLOWER for end in timed["images_per_s_interval"]]
    return found
