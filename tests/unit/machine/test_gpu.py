"""A GPU's state is that of the GPU which torch uses; throttling and company are told in words."""

import builtins
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import ArbenchError
from harness.machine import gpu
from harness.machine.conditions import conditions, gpu_state
from harness.machine.devices import visible_gpus, visible_names
from harness.machine.gpu import GPU, Reading, during, find, in_words, reading
from tests.helpers.fake_nvml import FakeGPU, FakeNvml

CUDA = torch.device("cuda", 0)
FIRST, SECOND = FakeGPU("GPU-aaaa1111", celsius=40), FakeGPU("GPU-bbbb2222", celsius=50)
CALM = Reading(1980, 2619, 41, 310.5, 700.0, (), True, 0.97, 0)


def test_what_nvml_reports_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml().install(monkeypatch)
    assert reading(CUDA) == CALM
    assert reading(torch.device("cuda")) == CALM
    assert reading(torch.device("cpu")) is None


def test_what_the_driver_does_not_report_is_none() -> None:
    silent = FakeGPU("GPU-1", *[None] * 10)
    found = GPU(FakeNvml([silent]), silent, True)
    assert found.read() == Reading(*[None] * 9)
    assert found.joules() is None


def test_without_the_library_or_the_driver_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml().install(monkeypatch)
    monkeypatch.setattr(gpu, "_library", lambda: None)
    assert reading(CUDA) is None
    assert gpu_state(CUDA)["gpu_state"] is None


def test_a_missing_package_is_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "pynvml":
            raise ImportError(name)
        return usual(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    assert gpu._library() is None


def test_the_package_has_every_function_that_is_called() -> None:
    pynvml = pytest.importorskip("pynvml")
    asked = [name for name in vars(FakeNvml) if name.startswith(("nvml", "NVML"))]
    assert len(asked) == 19
    assert [name for name in asked if not hasattr(pynvml, name)] == []
    assert gpu.REASONS[0x4] == "power cap"
    assert pynvml.nvmlClocksEventReasonSwPowerCap == 0x4
    assert pynvml.nvmlClocksEventReasonSwThermalSlowdown == 0x20
    assert pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown == 0x80


def test_a_machine_without_nvml_says_so_itself() -> None:
    pynvml = pytest.importorskip("pynvml")
    if gpu._library() is not None:
        pytest.skip("this machine has NVML")
    with pytest.raises(pynvml.NVMLError):
        pynvml.nvmlInit()


@pytest.mark.parametrize(
    ("uuid", "name", "celsius"),
    [
        ("bbbb2222", "0", 50),  # torch counts the GPUs in another order than NVML
        ("bbbb2222", "", 50),
        (None, "1", 50),
        (None, "GPU-bbbb2222", 50),
        (None, "GPU-bb", 50),  # CUDA_VISIBLE_DEVICES may cut a UUID short
        ("cccc3333", "1", 50),  # NVML does not know the UUID
    ],
)
def test_the_gpu_of_torch_is_found_among_those_of_nvml(uuid: str | None, name: str, celsius: float) -> None:
    found = find(FakeNvml([FIRST, SECOND]), uuid, name)
    assert found is not None
    assert found.read().celsius == celsius


@pytest.mark.parametrize("name", ["", "2", "GPU-", "GPU-c", "nonsense"])
def test_a_gpu_that_cannot_be_told_from_others_is_not_guessed(name: str) -> None:
    assert find(FakeNvml([FIRST, SECOND]), None, name) is None


@pytest.mark.parametrize(("uuid", "name"), [("77", "0"), (None, "MIG-77")])
def test_of_a_slice_the_whole_gpu_is_read_but_no_energy(uuid: str | None, name: str) -> None:
    found = find(FakeNvml([FIRST, SECOND], {"MIG-77": SECOND}), uuid, name)
    assert found is not None
    assert (found.read().celsius, found.joules()) == (50, None)


def test_visible_gpus_are_named_in_torchs_order(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml([FIRST, SECOND])
    nvml.install(monkeypatch, "unknown")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert (visible_names(), visible_gpus()) == (["1", "0"], [1, 0])
    assert gpu_state(CUDA)["gpu_state"]["celsius"] == 50
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bbbb")
    assert gpu_state(CUDA)["gpu_state"]["celsius"] == 50
    with pytest.raises(ArbenchError, match="CUDA_VISIBLE_DEVICES=GPU-bbbb: expected numbers, as in 0,1"):
        visible_gpus()


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0x0, ()),
        (0x1, ("idle",)),
        (0x4, ("power cap",)),
        (0x8 | 0x40, ("hardware slowdown", "hardware thermal slowdown")),
        (0x2 | 0x20, ("application clocks", "thermal slowdown")),
        (0x1000, ("bit 12",)),  # of a later driver
    ],
)
def test_reasons_are_named(bits: int, names: tuple[str, ...]) -> None:
    one = FakeGPU(reasons=bits)
    assert GPU(FakeNvml([one]), one, True).read().reasons == names


def test_an_older_driver_is_asked_by_the_older_name() -> None:
    class Older(FakeNvml):
        def nvmlDeviceGetCurrentClocksThrottleReasons(self, one: FakeGPU) -> int:  # noqa: N802
            return 0x80

    one = FakeGPU(reasons=None)
    assert GPU(Older([one]), one, True).read().reasons == ("power brake",)


@pytest.mark.parametrize(
    ("pids", "others"),
    [
        ([], 0),
        ([1], 1),
        ([1, 2, 1], 2),  # a process is listed once for each of its contexts
    ],
)
def test_other_processes_are_counted(pids: list[int], others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_sees_the_hosts_pids", lambda: True)
    one = FakeGPU(pids=[os.getpid(), *pids])
    assert GPU(FakeNvml([one]), one, True).read().others == others


@pytest.mark.parametrize("pids", [[], [4_194_305], [4_194_305, 4_194_306]])
def test_in_a_container_whose_pids_differ_other_processes_cannot_be_told(pids: list[int]) -> None:
    one = FakeGPU(pids=pids)
    assert GPU(FakeNvml([one]), one, True).read().others is None


def test_company_is_not_known_on_a_slice_or_where_pids_are_counted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes of other slices would be taken for company, and another process for ourselves."""
    one = FakeGPU(pids=[os.getpid(), 1])
    for namespace, told in ((gpu.FIRST_NAMESPACE, 1), ("pid:[4026532201]", None)):
        system = tmp_path / str(told)
        (system / "proc/self/ns").mkdir(parents=True)
        (system / "proc/self/ns/pid").symlink_to(namespace)
        sees = gpu._sees_the_hosts_pids(system)
        with monkeypatch.context() as patch:
            patch.setattr(gpu, "_sees_the_hosts_pids", lambda sees=sees: sees)
            assert GPU(FakeNvml([one]), one, whole=True).read().others == told
            assert GPU(FakeNvml([one]), one, whole=False).read().others is None
    assert not gpu._sees_the_hosts_pids(tmp_path / "nothing")


def test_an_nvml_that_cannot_count_its_gpus_finds_none() -> None:
    assert find(FakeNvml([]), None, "0") is None


def test_readings_during_a_measurement_are_summarised() -> None:
    hot = replace(CALM, sm_mhz=1410, celsius=83, watts=699.0, reasons=("power cap",), others=2)
    found = during([CALM, None, hot, replace(hot, celsius=85, reasons=("power cap", "thermal slowdown"), others=1)])
    assert found is not None
    assert (found["sm_mhz"], found["celsius"], found["watts"]) == ([1410, 1410, 1980], [41, 83, 85], [310.5, 699, 699])
    assert found["reasons"] == {"power cap": 2, "thermal slowdown": 1}
    assert (found["others"], found["readings"], found["disturbed"]) == (2, 3, True)
    words = "the GPU was throttled (power cap in 2 of 3 samples, thermal slowdown in 1 of 3 samples)"
    assert in_words(found) == f"{words}, 2 other processes used the GPU"


@pytest.mark.parametrize("reasons", [(), ("idle",), ("application clocks", "sync boost"), ("bit 12",), None])
def test_an_idle_gpu_and_clocks_that_somebody_set_are_no_throttling(reasons: tuple[str, ...] | None) -> None:
    found = during([replace(CALM, reasons=reasons, others=None)] * 3)
    assert found is not None
    assert not found["disturbed"]
    assert in_words(found) == ""


def test_one_process_is_company() -> None:
    assert in_words(during([replace(CALM, others=1)])) == "1 other process used the GPU"


def test_without_readings_there_is_no_summary() -> None:
    assert during([None, None]) is None
    assert in_words(None) == ""
    found = during([Reading(*[None] * 9)])
    assert found is not None
    assert (found["sm_mhz"], found["reasons"], found["others"], found["disturbed"]) == (None, None, None, False)


def test_conditions_include_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml([SECOND]).install(monkeypatch)
    state = conditions()["gpu_state"]
    assert (state["celsius"], state["watts_limit"], state["persistence"], state["busy"]) == (50, 700.0, True, 0.97)
    found = conditions(device=torch.device("cpu"))
    assert (found["gpu"], found["gpu_state"]) == (None, None)


def test_the_gpu_that_conditions_name_is_the_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the one that torch would take without being told."""
    FakeNvml([FIRST, SECOND]).install(monkeypatch)
    assert conditions(device=torch.device("cuda", 1))["gpu"] == "Fake H100 cuda:1"
    assert gpu_state(torch.device("cuda", 1))["gpu"] == "Fake H100 cuda:1"
