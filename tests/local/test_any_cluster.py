"""What holds of a sweep on any cluster holds of the processes of this machine."""

import signal
from typing import ClassVar

import pytest

from tests.helpers import sweeping
from tests.helpers.any_cluster import AnyCluster
from tests.helpers.equality import assert_as_here
from tests.helpers.places import PATIENCE_S, Place, until


class TestLocal(AnyCluster):
    KILLED: ClassVar[str] = "its process is gone"


def test_a_run_that_was_killed_goes_on_and_its_records_are_those_of_a_run_in_this_process(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.sweep("[method.fake]\ngrid = { steps = [2, 4] }", images=84)
    monkeypatch.setenv(sweeping.SLEEP, "0.5")
    driver = place.drive(place.on_cluster())
    place.wait(lambda: place.lines("sampled"))
    assert place.end(driver, signal.SIGKILL) == -signal.SIGKILL
    begun = len(place.lines("begun"))
    until(lambda: len(place.lines("begun")) > begun, PATIENCE_S)  # its tasks go on
    assert place.run() == 0
    assert len(place.lines("sampled")) == len(set(place.lines("sampled"))) == 24  # nothing was lost, or made twice
    assert_as_here(place)
