"""What root is needed for, and no Slurm: a store on a disk of its own, with this machine as the cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.any_cluster import OnSmallDisk
from tests.helpers.places import Place, local_place


class TestLocal(OnSmallDisk):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Place]:
        with local_place(tmp_path) as made:
            yield made
