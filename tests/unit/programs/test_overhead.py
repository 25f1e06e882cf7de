"""What the harness adds to a bare loop is measured on the same images."""

from pathlib import Path

from harness import files
from harness.trial import Trial
from tests.helpers import sweeping
from tests.programs import overhead


def test_the_harness_and_a_bare_loop_make_a_trial_shard_by_shard(tmp_path: Path) -> None:
    """How much the harness adds is `nox -s overhead`'s to say, on a quiet machine."""
    with sweeping.in_place() as patch:
        patch.setenv(sweeping.WEIGHTS, str(sweeping.make_weights(tmp_path / "fake.safetensors")))
        patch.setenv(sweeping.LOG, str(tmp_path / "sampled.log"))
        lines: list[str] = []
        found = overhead.measured(Trial.of("fake", "tiny", images=70), 20, tmp_path / "store", lines.append)
    assert len(found.bare) == len(found.harness) == len(found.extractor) == len(lines) == 4
    sampled = (tmp_path / "sampled.log").read_text().splitlines()
    assert len(sampled) == 2 * 3 + 2 * 10  # three compute batches of 7 to warm up, then all ten, each twice
    assert found.merging > 0
    middle, low, high = found.share
    assert low <= middle <= high
    (merged,) = tmp_path.glob("store/work/*/generated.npz")
    assert len(files.read_arrays(merged)["steps"]) == 70
