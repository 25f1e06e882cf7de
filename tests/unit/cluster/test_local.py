"""``--cluster local`` as somebody uses it who has one machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cli
from tests.helpers.places import Place, local_place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with local_place(tmp_path) as made:
        yield made


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
        (
            'partition = "gpu"',
            "unknown option 'partition' (valid: container, cpus, cpus-per-task, exclusive, gpus, poll-seconds, python",
        ),
        ("gpus = 99", "gpus: this machine has "),
    ],
)
def test_a_site_file_that_asks_for_what_a_machine_has_not_is_refused(
    place: Place, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    place.site(line)
    assert cli.main(place.on_cluster()) == 2
    assert f"site.toml: {said}" in capsys.readouterr().err
