"""What holds of a sweep on any cluster holds on a real Slurm."""

from typing import ClassVar

from tests.helpers.any_cluster import AnyCluster, OnSmallDisk


class TestSlurm(AnyCluster, OnSmallDisk):
    KILLED: ClassVar[str] = "FAILED"
