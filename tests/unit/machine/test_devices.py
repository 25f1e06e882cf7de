"""How many processes a device takes: no more than a container's quota lets run."""

from pathlib import Path

import pytest

from harness.errors import ArbenchError
from harness.machine import cores, devices


def test_a_process_for_each_core_that_the_quota_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "allowed", lambda: 8)
    monkeypatch.setattr(cores, "quota", lambda *_: 2.5)
    assert devices.workers("cpu") == 2
    monkeypatch.setattr(cores, "quota", lambda *_: None)
    assert devices.workers("cpu") == 8


def test_a_device_that_is_none_or_not_here_is_one_line() -> None:
    with pytest.raises(ArbenchError, match="unknown device 'gpu' .valid: cpu, cuda, cuda:0"):
        devices.workers("gpu")
    with pytest.raises(ArbenchError, match="device 'cuda:99' is not to be had: this machine has "):
        devices.workers("cuda:99")
