"""``python -m tests.helpers.job ...``: what jobs of the tests run in the place of python: submitit's program, with the
small benchmark of tests/helpers/sweeping.py in the place of the real one."""

import sys

import pytest
from submitit.core.submission import process_job

from tests.helpers import sweeping

if __name__ == "__main__":
    sweeping.install(pytest.MonkeyPatch())
    process_job(sys.argv[-1])
