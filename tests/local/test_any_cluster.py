"""What holds of a sweep on any cluster holds of the processes of this machine."""

from typing import ClassVar

from tests.helpers.any_cluster import AnyCluster


class TestLocal(AnyCluster):
    KILLED: ClassVar[str] = "its process is gone"
