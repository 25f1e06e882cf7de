"""The records that come with arbench belong to the weights and the reference that come with it."""

from pathlib import Path

import pytest

from harness.hashing import weights_sha256
from harness.run import verification
from harness.trial import Trial

RECORDS = sorted(verification.BUNDLED.glob("*.json"))


def test_there_are_three() -> None:
    assert len(RECORDS) == 3


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_bundled_record_was_made_with_the_bundled_weights(path: Path) -> None:
    """If not: `nox -s records`."""
    record = verification.read(path)
    trial = Trial.parse(record["name"], record["trial"]["images"])
    assert weights_sha256(trial.owner.weight_files(trial.preset)) == record["provenance"]["weights"]
    assert record["quality"]["intervals"]["fid"]["fmnist-cnn"]
