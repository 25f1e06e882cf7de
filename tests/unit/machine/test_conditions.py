"""What a machine is like while time is taken: its state, what disturbs a sample, memory."""

import ctypes
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from harness.machine.conditions import conditions
from harness.machine.disturbances import between, by_kind, counters, disturbed, in_words, quiet_cores
from harness.machine.memory import peak_memory


def test_what_the_system_counts_is_read_and_what_it_does_not_is_none(tmp_path: Path) -> None:
    silent = counters(tmp_path / "nothing")
    assert (silent.busy, silent.steal, silent.waited, silent.throttled) == (None, None, None, None)
    ours = min(os.sched_getaffinity(0))
    for name, text in {
        "proc/stat": f"cpu 9 9 9 9 9 9 9 9 9 9\ncpu{ours} 100 0 50 9000 7 1 2 30 0 0\nintr 5 0\n",
        "proc/self/task/1/schedstat": "5000000000 250000000 77\n",
        "proc/self/task/2/schedstat": "1000000000 500000000 7\n",
        "proc/self/cgroup": "0::/box\n",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/box/cpu.stat": "usage_usec 5\nnr_throttled 3\nthrottled_usec 1500000\n",
        "sys/fs/cgroup/cpu.stat": "usage_usec 9\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    told = counters(tmp_path)
    tick = os.sysconf("SC_CLK_TCK")
    assert (told.busy, told.steal, told.waited, told.throttled) == (153 / tick, 30 / tick, 0.75, 1.5)
    found = between(silent, told)
    assert found["steal"] is None
    assert by_kind([found, between(told, told)])["steal"] is None
    assert by_kind([between(told, told)])["steal"] == [0.0]
    (tmp_path / "proc/stat").write_text("cpu0 what\n")
    assert counters(tmp_path).busy is None


def test_a_core_that_another_process_keeps_busy_is_not_quiet() -> None:
    mine = os.sched_getaffinity(0)
    pair = set(sorted(mine)[:2])
    if len(pair) < 2:
        pytest.skip("one core alone: it is always taken for quiet")
    burner = multiprocessing.get_context("fork").Process(target=_burn_on, args=(max(pair),), daemon=True)
    os.sched_setaffinity(0, pair)
    try:
        burner.start()
        time.sleep(0.1)
        assert quiet_cores(0.4) == 1
    finally:
        burner.kill()
        os.sched_setaffinity(0, mine)


def _burn_on(core: int) -> None:
    os.sched_setaffinity(0, {core})
    _burn()


def test_another_process_on_the_same_core_is_seen() -> None:
    """Two processes share one core for half a second: this one waits for it, and the other uses it."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    burner = multiprocessing.get_context("fork").Process(target=_burn, daemon=True)
    try:
        burner.start()
        before, until = counters(), time.perf_counter() + 0.5
        while time.perf_counter() < until:
            pass
        found = between(before, counters())
    finally:
        burner.kill()
        burner.join()
        os.sched_setaffinity(0, mine)
    if found["waited"] is None or found["others"] is None:
        assert not Path("/proc/self/schedstat").exists()
        return
    assert found["waited"] > 0.05
    assert found["others"] > 0.05
    assert disturbed([0.5], by_kind([found])) == [True]
    assert "other processes used" in in_words([0.5], by_kind([found]), 1, 1)


def _burn() -> None:
    while True:
        sum(range(10_000))


def test_the_machines_state_is_read_and_what_it_does_not_say_is_none(tmp_path: Path) -> None:
    assert conditions()["load"] >= 0
    silent = conditions(tmp_path)
    assert {silent[name] for name in ("others", "clock_mhz", "governor", "celsius")} == {None}
    for name, text in {
        "proc/loadavg": "0.20 0.18 0.12 3/80 11206\n",
        "proc/cpuinfo": "processor : 0\ncpu MHz : 2100.5\n\nprocessor : 1\ncpu MHz : 3000.0\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/class/thermal/thermal_zone0/temp": "41000\n",
        "sys/class/thermal/thermal_zone1/temp": "56500\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    told = conditions(tmp_path)
    assert (told["others"], told["clock_mhz"], told["governor"]) == (2, [3000.0, 2100.5], "powersave")
    assert told["celsius"] == 56.5


def test_an_earlier_run_does_not_hide_the_memory_of_a_later_one() -> None:
    rises = []
    for size in (2000, 8000, 2000):
        with peak_memory(torch.device("cpu")) as found:
            blocks = [torch.ones(size, 256) for _ in range(8)]
            del blocks
        rises.append(found["peak_memory_rise_mb"])
    if found["peak_memory_scope"] != "run" or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this system does not let a process reset its high-water mark, or return its memory")
    assert rises == pytest.approx([16.4, 65.5, 16.4], abs=8)  # with what a first run brings in besides


def test_peak_memory_sees_what_was_allocated_and_freed() -> None:
    with peak_memory(torch.device("cpu")) as found:
        block = torch.ones(20_000_000)
        del block
    with peak_memory(torch.device("cpu")) as after:
        pass
    if found["peak_memory_mb"] is None or found["peak_memory_scope"] != "run":
        pytest.skip("this system does not let a process reset its high-water mark")
    assert 75 < found["peak_memory_rise_mb"] < 120
    assert after["peak_memory_rise_mb"] < 10
    assert found["peak_memory_mb"] > after["peak_memory_mb"] + 60
