"""The floor of an image: by hand, for the published presets, and as figures of records, old ones included."""

import copy
from functools import cache
from typing import Any

import pytest

from baselines.raster import Raster
from baselines.var import VAR
from harness.method import Method
from harness.stages.figures import FIGURES
from harness.stages.floors import Device, Work, decoder_seconds, floor, seconds, share, share_ends, tokens_seconds
from harness.stages.flops.costs import costs
from methods.ear import EAR
from reports import table
from tests.helpers import fakes_store

DEVICE = Device(bandwidth=100.0, matrix=1000.0)
WORK = Work(weights=(200, 400), cache=(0, 100), macs=(500, 5000), decoder_weights=50, decoder_macs=1000)


@pytest.mark.parametrize(
    ("batch", "steps", "decoder"),
    [
        (1, [max(2.0, 1.0), max(5.0, 10.0)], max(0.5, 2.0)),
        (2, [max(2.0, 2.0), max(6.0, 20.0)], max(0.5, 4.0)),
        (64, [max(2.0, 64.0), max(68.0, 640.0)], max(0.5, 128.0)),
    ],
)
def test_a_step_takes_as_long_as_its_bytes_or_its_flops(batch: int, steps: list[float], decoder: float) -> None:
    assert tokens_seconds(WORK, DEVICE, batch) == pytest.approx(sum(steps))
    assert decoder_seconds(WORK, DEVICE, batch) == pytest.approx(decoder)
    assert seconds(WORK, DEVICE, batch) == pytest.approx(sum(steps) + decoder)


def test_what_fits_into_the_last_cache_need_not_come_from_memory() -> None:
    small, large = Device(100.0, 1000.0, cache=500), Device(100.0, 1000.0, cache=499)
    assert tokens_seconds(WORK, small, 1) == pytest.approx(1.0 + 10.0)
    slow = Device(100.0, 1e9, cache=499)
    assert tokens_seconds(WORK, slow, 1) == pytest.approx(5.0, rel=1e-3)  # 200 bytes fit, 500 do not
    assert tokens_seconds(WORK, large, 1) == pytest.approx(1.0 + 10.0)


@cache
def work(method: type[Method], preset: str) -> tuple[Work, dict[str, Any]]:
    """The work of a published preset in bf16, with the preset's own sampling."""
    found = costs(method, preset, method.resolve({}, preset), method.presets[preset].sampling, precision="bf16")
    made = Work.of(found)
    assert made is not None
    return made, found


H100 = Device(bandwidth=2.8e12, matrix=700e12)
"""The middle of the ranges that shared/facts/GPU.md takes: 2.6 to 3.0 TB/s, 600 to 800 TFLOP/s in bf16."""

GOLDEN = [
    # milliseconds of tokens and of the decoder at batch 1 and 64; GB of weights and of cache of all steps
    (VAR, "imagenet256-d16", (1.82, 0.56), (54.7, 36.0), (4.36, 0.135)),
    (EAR, "imagenet256-b", (2.11, 0.14), (16.5, 8.9), (5.74, 0.173)),
    (Raster, "imagenet256-b", (18.7, 0.36), (72.8, 23.1), (49.94, 2.41)),
]


@pytest.mark.parametrize(("method", "preset", "one", "many", "gigabytes"), GOLDEN)
def test_published_presets_have_the_floors_that_their_sizes_give(
    method: type[Method],
    preset: str,
    one: tuple[float, float],
    many: tuple[float, float],
    gigabytes: tuple[float, float],
) -> None:
    found, told = work(method, preset)
    for batch, (tokens, decoder) in ((1, one), (64, many)):
        assert 1e3 * tokens_seconds(found, H100, batch) == pytest.approx(tokens, rel=0.05)
        assert 1e3 * decoder_seconds(found, H100, batch) == pytest.approx(decoder, rel=0.05)
    assert (sum(found.weights) / 1e9, sum(found.cache) / 1e9) == pytest.approx(gigabytes, rel=0.02)
    assert sum(found.macs) + found.decoder_macs == pytest.approx(sum(told["macs"].values()), rel=0.001)


def test_the_floors_are_those_that_gpu_facts_state() -> None:
    """shared/facts/GPU.md: batch 1 in bf16 at 2.6 to 3.0 TB/s.

    Its figures take every parameter to be read at every step. Ours compute adaLN once an image and look up embeddings.
    So EAR reads 91 of its 141 million parameters a step, and its floor is 2.3 ms in place of 3.3.
    """
    for method, preset, stated in (
        (VAR, "imagenet256-d16", 2.4),
        (EAR, "imagenet256-b", 3.3),
        (Raster, "imagenet256-b", 20),
    ):
        found, told = work(method, preset)
        everything = 2 * told["parameters"]["network"]
        steps = len(found.weights)
        assert 0.95 * stated <= 1e3 * steps * everything / 2.6e12 <= 1.1 * stated
        assert all(read < everything for read in found.weights)
    var, _ = work(VAR, "imagenet256-d16")
    assert 1e3 * seconds(var, H100, 1) == pytest.approx(2.4, rel=0.05)  # tokens and decoder together
    ear, _ = work(EAR, "imagenet256-b")
    assert 1e3 * seconds(ear, H100, 1) == pytest.approx(2.25, rel=0.05)
    raster, _ = work(Raster, "imagenet256-b")
    assert 1e3 * seconds(raster, H100, 1) == pytest.approx(20, rel=0.05)
    ends = [1e3 * tokens_seconds(var, Device(2.8e12, rate), 64) for rate in (800e12, 600e12)]
    assert ends == pytest.approx([50, 65], rel=0.05)
    assert 2 * var.decoder_macs / 1e9 == pytest.approx(394, rel=0.01)


def record() -> dict[str, Any]:
    """A made-up record that has bytes and rates: 3 steps, batches of 1 and 64."""
    made = copy.deepcopy(next(r for r in fakes_store.records() if r["trial"]["method"] == "var"))
    made["flops"] |= {
        "by_step": [1e6, 2e6, 3e6],
        "decoder_macs": 4e6,
        "bytes": {"weights": [1e6, 1e6, 1e6], "cache": [0.0, 1e5, 2e5], "decoder": 5e5},
    }
    made["timing"]["rates"] = {"bandwidth": 1e9, "matrix": 1e10, "precision": "float32", "cache": None, "seconds": 2.0}
    for kind, total in (("latency", 0.01), ("throughput", 0.4)):
        made["timing"][kind] |= {"total_s": total, "interval": [0.9 * total, 1.25 * total]}
    return made


LATENCY = 1e-3 + 1.1e-3 + 1.2e-3 + 0.8e-3
THROUGHPUT = 64 * 2 * (1e6 + 2e6 + 3e6 + 4e6) / 1e10


def test_a_record_has_its_floor_and_the_share_that_is_reached() -> None:
    made = record()
    assert floor(made, "latency") == pytest.approx(LATENCY)
    assert floor(made, "throughput") == pytest.approx(THROUGHPUT)
    assert share(made, "latency") == pytest.approx(LATENCY / 0.01)
    assert share_ends(made, "latency") == pytest.approx((LATENCY / 0.0125, LATENCY / 0.009))


def test_floors_are_figures_with_unit_range_and_interval() -> None:
    figures = {figure.name: figure for figure in FIGURES if "floor" in figure.name}
    assert list(figures) == ["floor_b1", "floor_share_b1", "floor_b64", "floor_share_b64"]
    made = record()
    values = {name: figure.value(made, "") for name, figure in figures.items()}
    assert values["floor_b1"] == pytest.approx(1e3 * LATENCY)
    assert values["floor_share_b1"] == pytest.approx(100 * LATENCY / 0.01)
    assert values["floor_share_b64"] == pytest.approx(100 * THROUGHPUT / 0.4)
    assert figures["floor_share_b1"].ends(made, "") == pytest.approx((32.8, 45.556), rel=1e-3)
    assert figures["floor_b1"].ends(made, "") is None
    for figure in figures.values():
        shared = "share" in figure.name
        assert (figure.unit, figure.better) == (("(%)", "high") if shared else ("(ms)", "low"))
        assert (figure.valid is not None) == shared


@pytest.mark.parametrize(
    "lost",
    [("flops", "bytes"), ("timing", "rates"), ("flops", "by_step"), ("timing",), ("timing", "latency"), ("flops",)],
)
def test_an_old_record_without_bytes_or_rates_has_no_floor_and_is_shown_all_the_same(lost: tuple[str, ...]) -> None:
    old = record()
    *path, last = lost
    part = old
    for name in path:
        part = part[name]
    del part[last]
    assert (floor(old, "latency"), share(old, "latency"), share_ends(old, "latency")) == (None, None, None)
    rows = table.tidy([old, record()], "fmnist-cnn").set_index(["floor_share_b1"], drop=False)
    assert rows["floor_share_b1"].isna().sum() == 1
    assert rows["fid"].notna().all()


def test_a_timed_record_whose_rates_could_not_be_measured_has_no_floor() -> None:
    made = record()
    made["timing"]["rates"] = None
    assert floor(made, "latency") is None
    made["timing"]["rates"] = {"bandwidth": None, "matrix": 1e10}
    assert floor(made, "latency") is None
