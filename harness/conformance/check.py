"""``arbench check PACKAGE``: the conformance suite on the methods that a package adds."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import ArbenchError, unknown

SUITE = Path(__file__).parent


def methods_of(package: str) -> list[str]:
    """The names of the methods that an installed package registers.

    package: the name of the package's distribution, or of its top-level module
    Raises ArbenchError if the package registers no methods. The error names the packages that register methods.
    """
    found: dict[str, list[str]] = {}
    for point in registry.points():
        for owner in {point.dist.name if point.dist else "", point.module.partition(".")[0]} - {""}:
            found.setdefault(owner, []).append(point.name)
    if package not in found:
        raise unknown("package that adds methods", package, found)
    return found[package]


def check(package: str, options: Sequence[str] = ()) -> int:
    """Run the suite on a package's methods; pytest prints one line per failed test. Returns 0 if all tests pass.

    options: more options for pytest.
    """
    wanted = methods_of(package)
    for name in wanted:
        registry.get(name)  # raises ArbenchError, of one line, if the method cannot be imported
    import pytest  # late: no other command needs it

    about = ["--pyargs", "harness.conformance", "-c", os.devnull, f"--rootdir={SUITE}", "-p", "no:cacheprovider", "-q"]
    code = pytest.main([*about, *options], plugins=[_Only(wanted)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise ArbenchError(f"the suite did not run: pytest ended with {code!r}")
    print(f"{package}: {', '.join(wanted)} {'conform' if code == 0 else 'do not conform'}")
    return int(code)


class _Only:
    """A plugin of pytest that keeps only the tests of some methods."""

    def __init__(self, methods: Sequence[str]) -> None:
        self._methods = methods

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Take out the tests of other methods."""
        kept = [item for item in items if item.callspec.params["name"] in self._methods]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
