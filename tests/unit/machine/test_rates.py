"""What a device can do is measured by one code for CPU and GPU; here clock and device are made up."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harness.machine import rates as module
from harness.machine.rates import Kind, buffer_bytes, last_cache, memory_bytes, rates, rates_of

CPU = torch.device("cpu")
GB = 2**30


class Matrix:
    """A square matrix; a product takes its time from the machine."""

    def __init__(self, side: int, machine: "Machine") -> None:
        self.side, self.machine = side, machine

    def to(self, dtype: torch.dtype) -> "Matrix":
        return self

    def __matmul__(self, other: "Matrix") -> None:
        self.machine.sides.append(self.side)
        self.machine.spend(2 * self.side**3 / self.machine.product)


class Machine:
    """A machine whose operations take the time that its rates give. The clock moves only by what is done."""

    def __init__(self, read: float, copy: float, product: float) -> None:
        self.now, self.read, self.copy, self.product = 0.0, read, copy, product
        self.sides: list[int] = []
        self.waits = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        def buffer(device: torch.device, size: int) -> SimpleNamespace:
            halves = [SimpleNamespace(copy_=lambda other: self.spend(size / self.copy)) for _ in range(2)]
            dtype = SimpleNamespace(itemsize=4)
            return SimpleNamespace(
                sum=lambda: self.spend(size / self.read), chunk=lambda n: halves, numel=lambda: size // 4, dtype=dtype
            )

        patch.setattr(module, "_buffer", buffer)
        patch.setattr(torch, "randn", lambda side, *_, **__: Matrix(side, self))
        patch.setattr(module, "synchronise", lambda device: self.wait())
        patch.setattr(module, "SIDES", (1024, 2048, 4096, 8192))
        patch.setattr(module, "SECONDS", 2.0)
        patch.setattr(module, "LEAST_BUFFER", 2**28)
        patch.setattr(module, "MOST_BUFFER", 2**30)

    def spend(self, seconds: float) -> None:
        self.now += seconds

    def wait(self) -> None:
        self.waits += 1

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("read", "copy", "product", "side"),
    [
        (2.5e12, 2.8e12, 700e12, 8192),  # a GPU: the largest product
        (9e9, 6e9, 0.08e12, 1024),  # a CPU: the next size would take long
        (9e9, 6e9, 0.4e12, 2048),
    ],
)
def test_rates_are_those_of_the_machine_and_take_about_two_seconds(
    read: float, copy: float, product: float, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(read, copy, product)
    machine.install(monkeypatch)
    found = rates(CPU, torch.bfloat16, clock=machine.clock)
    assert found is not None
    assert found["bandwidth"] == pytest.approx(max(read, copy))
    assert found["matrix"] == pytest.approx(product)
    assert found["precision"] == "bfloat16"
    assert max(machine.sides) == side
    assert 1.0 < found["seconds"] < 3.0
    assert machine.waits >= 12  # the device is waited for on both sides of each sample


def test_a_sample_that_other_work_slowed_down_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(1e10, 1e9, 1e12)
    machine.install(monkeypatch)
    usual, calls = machine.spend, iter(range(10**9))
    monkeypatch.setattr(machine, "spend", lambda seconds: usual(seconds * (1 if next(calls) % 3 == 2 else 5)))
    found = rates(CPU, torch.float32, seconds=40.0, clock=machine.clock)
    assert found is not None and found["bandwidth"] == pytest.approx(1e10)


def test_a_device_without_the_memory_or_the_operation_has_no_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(module, "_buffer", refuse)
    assert rates(CPU, torch.float32) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rates_of_this_cpu_are_measured_without_a_trace(dtype: torch.dtype) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = rates(CPU, dtype)  # tests/conftest.py makes it quick
    assert torch.equal(before, torch.get_rng_state())
    assert found is not None and found["bandwidth"] > 1e6 and found["matrix"] > 1e5


@pytest.mark.parametrize(
    ("cache", "memory", "size"),
    [
        (None, None, 2**28),
        (2**20, 64 * GB, 2**28),  # at least a quarter of a GB
        (50 * 2**20, 80 * GB, 400 * 2**20),  # 8 times the last cache
        (300 * 2**20, 64 * GB, GB),  # at most a GB
        (300 * 2**20, 2 * GB, GB // 4),  # no more than an eighth of the memory
    ],
)
def test_the_buffer_is_far_above_the_last_cache_and_far_below_the_memory(
    cache: int | None, memory: int | None, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_BUFFER", 2**28)
    monkeypatch.setattr(module, "MOST_BUFFER", 2**30)
    assert buffer_bytes(cache, memory) == size


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def core(number: int, sharing: str, size: str) -> dict[str, str]:
    place = f"sys/devices/system/cpu/cpu{number}/cache"
    first = {f"{place}/index0/{name}": text for name, text in (("level", "1"), ("size", "48K"))}
    last = {"level": "3", "size": size, "shared_cpu_list": sharing}
    return {
        **first,
        f"{place}/index0/shared_cpu_list": str(number),
        **{f"{place}/index3/{n}": t for n, t in last.items()},
    }


def test_the_last_caches_of_the_cores_that_may_be_used_are_added_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 8})
    files = core(0, "0-7", "32768K\n") | core(1, "0-7", "32768K\n") | core(8, "8-15", "32M\n") | core(16, "16-23", "9M")
    assert last_cache(CPU, written(tmp_path, files)) == 2 * 32 * 2**20
    assert last_cache(CPU, tmp_path / "nothing") is None


def test_a_containers_memory_is_what_there_is(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/box\n",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/box/memory.max": "2097152\n",
        "sys/fs/cgroup/memory.max": "max\n",
    }
    assert memory_bytes(CPU, written(tmp_path, files)) == 2097152
    whole = memory_bytes(CPU, tmp_path / "nothing")
    assert whole is not None and whole > 2**28


def test_a_gpu_is_asked_for_its_cache_and_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda:1")
    properties: Callable[[torch.device], SimpleNamespace] = lambda device: SimpleNamespace(L2_cache_size=52428800)  # noqa: E731
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (70 * GB, 80 * GB))
    assert (last_cache(gpu), memory_bytes(gpu)) == (52428800, 70 * GB)


def test_each_device_and_precision_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Kind] = []

    def fake(device: torch.device, dtype: torch.dtype, tf32: str) -> dict[str, object] | None:
        asked.append((device, dtype, tf32))
        return {"bandwidth": 2.8e12, "matrix": 7e14, "precision": "bfloat16"} if dtype == torch.bfloat16 else None

    monkeypatch.setattr(module, "rates", fake)
    half, lines = (CPU, torch.bfloat16, "off"), list[str]()
    found = rates_of([half, (CPU, torch.float32, "off"), half], lines.append)
    assert asked == [half, (CPU, torch.float32, "off")] and found[CPU, torch.float32, "off"] is None
    assert lines == ["timing on cpu: 2,800.0 GB/s, 700 TFLOP/s in bfloat16"]


def test_products_are_measured_with_and_without_tf32_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU multiplies float32 with TF32 several times as fast: a trial's floor is that of its own arithmetic."""
    seen: list[str] = []

    def product(*_: object) -> float:
        seen.append(torch.backends.cuda.matmul.fp32_precision)
        return {"ieee": 5e13, "tf32": 4e14}[seen[-1]]

    monkeypatch.setattr(module, "_matrix", product)
    lines: list[str] = []
    found = rates_of([(CPU, torch.float32, "off"), (CPU, torch.float32, "on")], lines.append)
    assert seen == ["ieee", "tf32"]
    assert [(one["tf32"], one["matrix"]) for one in found.values() if one] == [("off", 5e13), ("on", 4e14)]
    assert lines[1].endswith("400 TFLOP/s in float32 with TF32")
