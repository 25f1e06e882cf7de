"""What the program ran on: GPU, driver, versions, commit."""

from typing import Any

import torch

from harness.identity.provenance import source_commit, versions
from harness.machine.conditions import conditions
from harness.machine.hardware import machine
from tests.programs.gpu.known import USEFUL, missing


def about(device: torch.device) -> dict[str, Any]:
    """The machine and the versions, as plain values."""
    found = versions()
    state = conditions(device=device)
    return {
        "gpu": state["gpu"],
        "driver": state["driver"],
        "cuda": torch.version.cuda,
        "torch": found["torch"],
        "python": found["python"],
        "processor": machine()["processor"],
        "cores": machine()["cores"],
        "commit": source_commit(),
        "lacking": missing(USEFUL),
    }
