"""``--cluster local`` as somebody uses it who has one machine."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cli
from tests.helpers import sweeping
from tests.helpers.equality import assert_equal, results
from tests.helpers.places import PATIENCE_S, Place, local_place, until


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with local_place(tmp_path) as made:
        yield made


@pytest.mark.slow
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
    monkeypatch.delenv(sweeping.SLEEP)
    assert place.here() == 0
    assert_equal(results(place.store), results(place.folder / "here"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--no-wait"], "--no-wait: --cluster local starts its tasks from this process, so it has to wait"),
        (["--cluster", "slrum"], "unknown scheduler 'slrum'; did you mean 'slurm'? (valid: local, slurm)"),
    ],
)
def test_what_it_cannot_do_is_told_before_anything_is_computed(
    place: Place, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert cli.main(place.on_cluster(*more)) == 2
    assert capsys.readouterr().err == f"arbench: {said}\n"
    assert not place.store.exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('partition = "gpu"', "unknown option 'partition' (valid: container, cpus, cpus-per-task, exclusive, gpus, "),
        ("gpus = 99", "gpus: this machine has "),
    ],
)
def test_a_site_file_that_asks_for_what_a_machine_has_not_is_refused(
    place: Place, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    place.site(line)
    assert cli.main(place.on_cluster()) == 2
    assert f"site.toml: {said}" in capsys.readouterr().err
