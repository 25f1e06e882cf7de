"""The counters of energy: RAPL of processors, which starts over, and NVML of a GPU."""

from pathlib import Path

import pytest
import torch

from harness.machine.energy import counter, used
from tests.helpers.fake_nvml import FakeGPU, FakeNvml

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def zone(folder: Path, place: str, **files: str | int) -> None:
    (folder / place).mkdir(exist_ok=True)
    for file, content in files.items():
        (folder / place / file).write_text(f"{content}\n")


def test_the_energy_of_processors_is_counted_by_package(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", name="package-0", energy_uj=5_000_000, max_energy_range_uj=262_143_328_850)
    zone(tmp_path, "intel-rapl:1", name="package-1", energy_uj=2_500_000)
    zone(tmp_path, "intel-rapl:0:0", name="core", energy_uj=900_000)  # a part of package-0
    zone(tmp_path, "intel-rapl:2", name="psys", energy_uj=77_000_000)  # the whole machine
    found = counter(CPU, tmp_path)
    assert found is not None
    assert (found.read(), found.ranges) == ([5.0, 2.5], (262143.32885, None))
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("no number")
    assert found.read() is None
    assert counter(CPU, tmp_path) is None


def test_without_a_counter_there_is_none(tmp_path: Path) -> None:
    assert counter(CPU, tmp_path / "nothing") is None
    assert counter(torch.device("cuda", 99)) is None or torch.cuda.is_available()


@pytest.mark.parametrize(
    ("before", "after", "joules"),
    [
        ([7.5, 1.0], [9.0, 3.0], 3.5),
        ([99.0, 1.0], [4.0, 3.0], 7.0),  # the first part started over at 100
        ([7.5, 3.0], [9.0, 1.0], None),  # the second part never starts over: its counter is broken
        (None, [9.0, 3.0], None),
        ([7.5, 1.0], None, None),
    ],
)
def test_a_counter_that_starts_over_loses_no_energy(
    before: list[float] | None, after: list[float] | None, joules: float | None
) -> None:
    assert used(before, after, (100.0, None)) == joules


def test_the_energy_of_a_gpu_is_that_of_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    one = FakeGPU(millijoules=12_345)
    FakeNvml([one]).install(monkeypatch)
    found = counter(CUDA)
    assert found is not None
    assert found.read() == [12.345]
    one.millijoules = None
    assert found.read() is None
    assert counter(CUDA) is None


def test_a_slice_of_a_gpu_has_no_energy_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    one = FakeGPU(mig=1)
    FakeNvml([one], {"MIG-77": one}).install(monkeypatch, "MIG-77")
    assert counter(CUDA) is None
