"""A place whose cluster is this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.places import Place, local_place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with local_place(tmp_path) as made:
        yield made
