"""Where several processes run tests at a time (pytest-xdist), each of them, and what it starts, has one thread."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported, which the tests do
