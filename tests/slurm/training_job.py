"""``python -m tests.slurm.training_job ...``: submitit's program, with the presets of tiny_training.py."""

import os
import sys
import time

import pytest
from submitit.core.submission import process_job

from harness.training.processes import Processes
from tests.helpers.tiny_training import offer_tiny_presets

SLEEP = "ARBENCH_TRAIN_SLEEP"
"""Seconds that every step takes longer."""


def slowly(processes: Processes, *rest: object) -> object:
    time.sleep(float(os.environ.get(SLEEP, "0")))
    return backward(processes, *rest)  # type: ignore[arg-type]


backward = Processes.backward

if __name__ == "__main__":
    offer_tiny_presets(pytest.MonkeyPatch())
    Processes.backward = slowly  # type: ignore[method-assign, assignment]
    process_job(sys.argv[-1])
