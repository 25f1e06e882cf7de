"""What holds for all tests.

Where several processes run tests at a time (pytest-xdist), each of them, and what it starts, has one thread.
``--brief`` is for further Pythons: what one of them does otherwise shows wherever a line of code is run at all.
"""

import os
from collections.abc import Iterator

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported, which the tests do


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --brief."""
    parser.addoption("--brief", action="store_true", help="no slow tests, and the first case of each of the others")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what --brief leaves out; of the conformance suite, the first case of each method stays."""
    if not config.getoption("--brief"):
        return
    first: dict[tuple[object, ...], pytest.Item] = {}
    for item in items:
        case = getattr(item, "callspec", None)
        method = case.params.get("name") if case is not None and "conformance" in item.path.parts else None
        if item.get_closest_marker("slow") is None:
            first.setdefault((item.path, item.nodeid.partition("[")[0], method), item)
    kept = {id(item) for item in first.values()}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]


@pytest.fixture(scope="session", autouse=True)
def _quick_rates() -> Iterator[None]:
    """Measure what a device can do in a moment: tests take many timing sessions, and none needs the true rates."""
    from harness.machine import rates  # late: it imports torch, for which the environment has to be ready

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"SECONDS": 0.0, "LEAST_BUFFER": 2**16, "MOST_BUFFER": 2**16, "SIDES": (32,)}.items():
            patch.setattr(rates, name, value)
        yield
