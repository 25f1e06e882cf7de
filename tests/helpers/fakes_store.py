"""A store with made-up but plausible records of the default sweep, for tests of whatever reads a store."""

import hashlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import files
from harness.records.store import REPLICATES, Store

IMAGES = 5000
STEPS = (4, 7, 13, 25, 49)
SPARSITY = (0.0, 0.25, 0.5, 0.75)
LABELS = np.arange(40) % 10
TITLES = {
    "raster": ("Raster AR", "next-token", "arXiv 2406.06525", "1.98M parameters, 49 tokens, 2.4M images seen"),
    "ear": ("EAR", "next-set", "arXiv 2511.15499", "2.09M parameters, 49 tokens, 2.4M images seen; adaLN"),
    "raster-blocks": ("Raster blocks", "next-set", "", "as EAR, raster order"),
    "random-order": ("Random order", "next-set", "", "as EAR, an order drawn once from the seed"),
    "var": ("VAR", "next-scale", "arXiv 2404.02905", "2.05M parameters, 104 tokens on 6 scales, 2.4M images seen"),
    "actvar": ("ActVAR", "next-scale", "arXiv 2511.12893", "from the trained VAR; 0.6M more images for distillation"),
    "var-static": ("VAR, static pruning", "next-scale", "", "from the trained VAR; no further training"),
    "actvar-random": ("ActVAR, random selection", "next-scale", "", "as ActVAR, experts and tokens at random"),
}
ORDER_PENALTY = {"ear": 1.0, "raster-blocks": 1.25, "random-order": 1.1}
SPARSE_PENALTY = {"actvar": 3.0, "var-static": 9.0, "actvar-random": 14.0}
MACHINE = {"host": "lab-7", "processor": "Intel Xeon 4210 @ 2.20GHz"} | {
    "cores": 2,
    "memory_mb": 24105,
    "system": "Linux-6.1",
}

Record = dict[str, Any]


def records() -> list[Record]:
    """70 records: the sweep of the first issue, two of its trials failed."""
    found = [_ar("raster", {"steps": 49}, 49, cfg=cfg) for cfg in (1.0, 1.5, 2.0)]
    for method in ORDER_PENALTY:
        schedules = ("half-rings", "equal") if method == "ear" else ("equal",)
        for schedule in schedules:
            for steps in STEPS:
                knobs = {"steps": steps, "schedule": schedule} | ({"adaptive": 0.0} if method == "ear" else {})
                found.append(_ar(method, knobs, steps, cfg=1.5))
    for threshold in (1.0, 2.0, 3.0):
        knobs = {"steps": 49, "schedule": "half-rings", "adaptive": threshold}
        found.append(_ar("ear", knobs, 22 - 5 * threshold, cfg=1.5, spread=1.7))
    found += [_measured_floors(_var("var", {"scales": scales}, cfg=2.5)) for scales in (6, 5, 4)]
    for method in SPARSE_PENALTY:
        for ffn in SPARSITY:
            for token in SPARSITY:
                if method == "actvar-random" and (ffn == 0.75 or token == 0.75):
                    continue
                knobs = {"ffn_sparsity": ffn, "token_sparsity": token, "sparse_scales": 2}
                found.append(_var(method, knobs, cfg=2.5))
    fail(found[-1], "generate", "RuntimeError: index 104 is out of bounds for dimension 1 with size 104")
    fail(found[-2], "quality", "ArbenchError: shard 3 of 5 is missing")
    return found


def fail(record: Record, stage: str, reason: str) -> None:
    """Turn a finished record into a failed one, in place."""
    for part in ("quality", "flops", "timing", "generate", "parameters"):
        record.pop(part, None)
    log = f'[{stage}] started\n  File "harness/run.py", line 88, in <module> & so on\n{reason}\n'
    record |= {"status": "failed", "failure": {"stage": stage, "reason": reason, "log": log}}


def _ar(method: str, knobs: Record, steps: float, cfg: float, spread: float = 0.0) -> Record:
    fid = (9.5 + 90 / steps**1.1) * ORDER_PENALTY.get(method, 1.0) + 4 * abs(cfg - 1.5)
    macs = 96e6 * (1.0 if method == "raster" else 1.9 + steps / 200)
    return _record(method, knobs, cfg, {"steps": steps, "spread": spread, "fid": fid, "macs": macs})


def _var(method: str, knobs: Record, cfg: float) -> Record:
    ffn, token = knobs.get("ffn_sparsity", 0.0), knobs.get("token_sparsity", 0.0)
    fid = 10.4 + SPARSE_PENALTY.get(method, 0.0) * (ffn**2 + 0.8 * token**1.5) + 7 * (6 - knobs.get("scales", 6))
    macs = 205e6 * (1 - 0.45 * ffn) * (1 - 0.6 * token) * (knobs.get("scales", 6) / 6) ** 2
    return _record(method, knobs, cfg, {"steps": knobs.get("scales", 6), "spread": 0.0, "fid": fid, "macs": macs})


def _measured_floors(found: Record) -> Record:
    """Adds bytes, rates and what floors need besides, as records have them today; others are older."""
    steps = int(found["trial"]["knobs"]["scales"])
    macs = found["flops"]["tokens_macs"] / steps
    read = {"weights": [8e6] * steps, "cache": [1e5 * step for step in range(steps)], "decoder": 2e6}
    found["flops"] |= {"by_step": [macs] * steps, "bytes": {**read, "convention": "bytes: weights once a step"}}
    rates = {"bandwidth": 9e9, "matrix": 8e10, "precision": "float32", "tf32": "off", "cache": 2**20, "seconds": 2.1}
    found["timing"]["rates"] = rates
    return found


def _record(method: str, knobs: Record, cfg: float, made: dict[str, float]) -> Record:
    dense = knobs.get("ffn_sparsity") == knobs.get("token_sparsity") == 0
    settings = ",".join(f"{name}={value}" for name, value in knobs.items())
    name = f"{method}[preset=fmnist,{settings},cfg={cfg},seed=0]"
    key = hashlib.sha256(name.encode()).hexdigest()
    title, family, paper, differences = TITLES[method]
    # At zero sparsity the sparse methods are VAR, to the last digit.
    jitter = 1.0 if dense or method == "var" else 1 + 0.02 * np.random.default_rng(int(key[:8], 16)).standard_normal()
    fid, steps, guided = made["fid"] * jitter, made["steps"], 2 if cfg != 1 else 1
    tokens_s, decoder = 0.0021 * steps + made["macs"] / 4e10, 11e6
    per_image = made["macs"] * guided / 2.2e10
    macs = made["macs"] * guided + decoder
    return {
        "name": name,
        "key": key,
        "status": "done",
        "failure": None,
        "trial": {
            "method": method,
            "preset": "fmnist",
            "knobs": knobs,
            "sampling": {
                "cfg": cfg,
                "cfg_schedule": "constant",
                "temperature": 1.0,
                "top_k": 0,
                "top_p": 1.0,
                "cfg_power": 1.0,
            },
            "seed": 0,
            "images": IMAGES,
        },
        "method": {"title": title, "family": family, "paper": paper, "differences": differences},
        "generate": {"images": IMAGES, "steps_mean": steps, "steps_std": made["spread"], "seconds": IMAGES * per_image},
        "quality": {
            "fid": {"fmnist-cnn": fid},
            "is": 9.2 - fid / 40,
            "kid": fid / 9000,
            "fid_infinity": {"fmnist-cnn": fid - 0.1},
            "sfid": {"fmnist-cnn": 2 * fid},
            "density": 0.9 - fid / 300,
            "coverage": 0.8 - fid / 200,
            "intervals": {
                "fid": {"fmnist-cnn": [0.98 * fid, 1.02 * fid]},
                "fid_infinity": {"fmnist-cnn": [0.98 * fid - 0.1, 1.02 * fid - 0.1]},
                "is": [9.1 - fid / 40, 9.3 - fid / 40],
                "kid": [fid / 9500, fid / 8500],
            },
            "precision": 0.86 - fid / 300,
            "recall": 0.71 - fid / 200,
            "label_accuracy": 0.95 - fid / 500,
            "extractor": "fmnist-cnn",
            "reference": {"images": 10000},
        },
        "flops": {
            "macs": macs,
            "flops": 2 * macs,
            "by_part": {
                "attention": 0.31 * (macs - decoder),
                "ffn": 0.6 * (macs - decoder),
                "head": 0.09 * (macs - decoder),
                "tokenizer": decoder,
            },
            "tokens_macs": macs - decoder,
            "decoder_macs": decoder,
            "counter": "operators executed on real labels and noise",
            "convention": "1 MAC = one multiply and one add; FLOPs = 2 x MACs; both branches where there is guidance",
            "images_counted": 8,
        },
        "timing": {
            "latency": _timed(tokens_s, 0.0012, 1),
            "throughput": _timed(64 * per_image, 0.013, 64) | {"images_per_s": 64 / (64 * per_image + 0.013)},
            "noisy": False,
            "peak_memory_mb": 412 + 3 * steps,
            "threads": 2,
            "device": "cpu",
            "conditions": [{"load": 0.4}, {"load": 1.9}],
            "protocol": {"latency_batch": 1, "throughput_batch": 64, "warmup": 1, "min_rounds": 6, "max_rounds": 30},
            "session": "1764000000.000000-77",
        },
        "parameters": {"network": 2_050_000, "tokenizer": 1_310_000},
        "provenance": {
            "commit": "e928e1c0ffee00000000000000000000000000aa",
            "dirty": False,
            "lock": "5d41402abc4b2a76b9719d911017c592",
            "machine": MACHINE,
            "versions": {"python": "3.11.2", "torch": "2.14.1", "torch-fidelity": "0.4.0", "fvcore": "0.1.5"},
            "weights": {f"{method}.safetensors": hashlib.sha256(method.encode()).hexdigest()},
            "data": "7d793037a0760186574b0282f2f435e7",
            "reference": "9e107d9d372bb6826bd81d3542a419d6",
            "command": ["arbench", "run", "default", "--store", "store"],
            "started": "2026-01-05T09:00:00+00:00",
            "finished": "2026-01-05T09:25:00+00:00",
        },
    }


def _timed(tokens_s: float, decoder_s: float, batch: int) -> Record:
    total = tokens_s + decoder_s
    return {
        "total_s": total,
        "tokens_s": tokens_s,
        "decoder_s": decoder_s,
        "interval": [0.98 * total, 1.03 * total],
        "coverage": 0.97,
        "noisy": False,
        "batch": batch,
        "samples": [total * factor for factor in (0.98, 0.99, 1.0, 1.0, 1.02, 1.03)],
        "decoder_samples": [decoder_s] * 6,
    }


def reference() -> Record:
    """The facts about the test images and the tokenizers."""
    return {
        "is": 9.24,
        "label_accuracy": 0.931,
        "tokenizers": {
            "vq-49": {"rfid": 5.1, "codebook_use": 0.97, "l1": 0.031, "psnr": 24.1},
            "vq-multiscale": {"rfid": 4.4, "codebook_use": 0.99, "l1": 0.029, "psnr": 24.6},
        },
    }


def arrays(record: Record) -> dict[str, NDArray[Any]]:
    """Thumbnails, labels, and replicates of FID that scatter by 1 %, each setting's on its own."""
    fid = record["quality"]["fid"]["fmnist-cnn"]
    off = np.random.default_rng(zlib.crc32(record["key"].encode())).standard_normal(1000)
    replicates = {REPLICATES + "fid.fmnist-cnn": (fid * (1 + 0.01 * off)).astype(np.float32)}
    return {"thumbnails": thumbnails(record), "labels": np.arange(IMAGES) % 10, **replicates, **trace(record)}


def trace(record: Record) -> dict[str, NDArray[Any]]:
    """What ear and actvar tell of two images: ear's parts are of one size, actvar skips by chance."""
    method, knobs = record["trial"]["method"], record["trial"]["knobs"]
    if method == "ear":
        order = (np.arange(49) * knobs["steps"]) // 49
        return {"trace grids": np.array([7], np.int16), "trace order": np.tile(order, (2, 1)).astype(np.int16)}
    if method != "actvar":
        return {}
    sides = np.array([1, 2, 3, 4, 5, 7], np.int16)
    order = np.repeat(np.arange(6), sides**2).astype(np.int16)
    rng = np.random.default_rng(1)
    computed = (rng.random((2, 3, 104)) >= knobs["token_sparsity"] * (order >= 4)).astype(np.uint8)
    experts = rng.integers(1, 16, (2, 3, 104), np.uint32) * computed
    found = {"grids": sides, "order": np.tile(order, (2, 1)), "tokens": computed, "experts": experts}
    return {f"trace {name}": values for name, values in {**found, "experts_of": np.array(4, np.int16)}.items()}


def many(count: int) -> list[Record]:
    """So many finished records, each with knobs of its own, so that all of them stand on the frontier's figures."""
    found: list[Record] = []
    for variant in range(2, 2 + count // 60 + 1):
        for steps in STEPS:
            knobs = {"steps": steps, "schedule": "equal", "adaptive": float(variant)}
            found += [_ar(method, dict(knobs), steps, cfg=1.5) for method in ORDER_PENALTY]
        for method in SPARSE_PENALTY:
            for ffn in SPARSITY:
                for token in SPARSITY:
                    knobs = {"ffn_sparsity": ffn, "token_sparsity": token, "sparse_scales": variant}
                    found.append(_var(method, knobs, cfg=2.5))
    rng = np.random.default_rng(2)
    for record in found:  # what real records do not share: samples, counts
        for part, rounds in (("latency", 30), ("throughput", 14)):
            timed = record["timing"][part]
            timed["samples"] = (timed["total_s"] * rng.normal(1, 0.02, rounds)).tolist()
            timed["decoder_samples"] = (timed["decoder_s"] * rng.normal(1, 0.02, rounds)).tolist()
        flops = record["flops"]
        flops["by_part"] = {name: macs * rng.normal(1, 0.01) for name, macs in flops["by_part"].items()}
        flops["by_step"] = (
            flops["tokens_macs"] * rng.dirichlet(np.ones(round(record["generate"]["steps_mean"])))
        ).tolist()
    return found[:count]


def thumbnails(record: Record) -> NDArray[np.uint8]:
    """uint8 [40, 1, 28, 28]: a blob a class, grainier with a worse FID."""
    rng = np.random.default_rng(7)
    down, across = np.mgrid[0:28, 0:28]
    blobs = [((down - 13.5) ** 2 / (20 + 9 * c) + (across - 13.5) ** 2 / (90 - 7 * c) < 1.2) for c in LABELS]
    grain = rng.integers(0, 30 + int(record["quality"]["fid"]["fmnist-cnn"] * 2), (len(LABELS), 28, 28))
    return (np.stack(blobs) * 170 + grain).clip(0, 255).astype(np.uint8)[:, None]


def write(folder: Path, made: list[Record] | None = None, facts: Record | None = None) -> Path:
    """Write a store: the records given (the default sweep's), ``reference.json``, thumbnails. Returns ``folder``."""
    store = Store(folder)
    store.prepare()
    for record in records() if made is None else made:
        store.write(record, arrays(record) if record["status"] == "done" else None)
    files.write_json(folder / "reference.json", reference() if facts is None else facts)
    return folder
