"""An environment in which a page's commands are run."""

from pathlib import Path

import pytest

from tests.helpers import wheel


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel and without this checkout: what a page installs goes there and
    nowhere else."""
    made = wheel.environment(tmp_path_factory.mktemp("environment"))
    wheel.install(made, wheel.build(tmp_path_factory.mktemp("wheel")))
    return made
