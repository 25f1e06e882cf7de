"""Shards: however a trial is cut and by whom it is computed, the same rows come out in the same order."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness import files, traces
from harness.errors import ArbenchError
from harness.inputs import labels
from harness.jobs.bench import Bench
from harness.jobs.plan import TrialPlan
from harness.method import Generated, KnobValue
from harness.noise import uniforms
from harness.sampling import Sampling
from harness.setup import Setup, in_precision, to_uint8
from harness.stages import Stage
from harness.stages.generate.shards import THUMBNAILS, Shards, shard_size
from harness.stages.generate.stage import fingerprints, shard, summary
from harness.trial import Trial
from tests.helpers.fakes import VOCABULARY, FakeMethod
from tests.helpers.sweeping import TinyExtractor

TRIAL = Trial("fake", "tiny", {"steps": 2, "shade": "plain"}, Sampling(cfg=1.5), 3, 60)


def made(indices: range, method: type[FakeMethod] = FakeMethod, **setup: Any) -> dict[str, np.ndarray]:
    trial, loaded = replace(TRIAL, setup=Setup(**setup)), method.load("tiny")
    in_precision(loaded, trial.setup.precision)
    return shard(loaded, [TinyExtractor()], trial, indices)


class Sociable(FakeMethod):
    """A method whose every token and step depends on how many rows it is given and on what the other rows are, as one
    whose kernels or grouped products round by what they are given."""

    rows: ClassVar[list[int]] = []

    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        self.rows.append(len(labels))
        drawn = super().sample(labels, noise, knobs, sampling)
        company = len(labels) + int(1e6 * noise.sum())
        return Generated((drawn.tokens + company) % VOCABULARY, drawn.steps + company % 3)

    def decode(self, tokens: Tensor) -> Tensor:
        return super().decode(tokens) * (0.5 + 0.5 * float((tokens.sum() % 10) / 10))


@given(
    images=st.integers(1, 60),
    present=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 20)), max_size=6),
    batch=st.integers(1, 70),
    compute_batch=st.sampled_from([1, 1, 4, 7, 64]),
)
def test_missing_ranges_are_the_images_that_no_shard_covers(
    tmp_path_factory: pytest.TempPathFactory,
    images: int,
    present: list[tuple[int, int]],
    batch: int,
    compute_batch: int,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    there = [range(start, min(start + size, images)) for start, size in present if start < images]
    shards = Shards(folder, images, compute_batch)
    for indices in there:
        shards.path(indices).touch()
    covered = {index for indices in there for index in indices}
    missing = shards.missing(batch)
    assert [index for indices in missing for index in indices] == sorted(set(range(images)) - covered)
    assert all(1 <= len(indices) <= shard_size(batch, compute_batch) for indices in missing)
    ends = {indices.stop for indices in there} | {indices.start for indices in there} | {images}
    assert all(indices.stop % compute_batch == 0 or indices.stop in ends for indices in missing)


@pytest.mark.parametrize(
    ("batch", "compute_batch", "sizes"),
    [(250, 125, [250, 250, 100]), (250, 64, [256, 256, 88]), (1, 64, [64] * 9 + [24]), (7, 1, [7] * 85 + [5])],
)
def test_a_shard_is_rounded_up_to_whole_compute_batches(
    tmp_path: Path, batch: int, compute_batch: int, sizes: list[int]
) -> None:
    assert [len(indices) for indices in Shards(tmp_path, 600, compute_batch).missing(batch)] == sizes


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("size", [1, 7, 16, 64])
@pytest.mark.parametrize("cuts", [[0, 20, 40, 60], [0, 7, 14, 60], [0, 1, 8, 16, 24, 32, 40, 59, 60]])
def test_a_method_that_depends_on_its_company_makes_the_same_images_however_cut(
    tmp_path: Path, cuts: list[int], size: int, precision: str
) -> None:
    setup: dict[str, Any] = {"compute_batch": size, "precision": precision}
    Sociable.rows.clear()
    whole = made(range(60), Sociable, **setup)
    shards = Shards(tmp_path, 60, size)
    for start, stop in zip(cuts, cuts[1:], strict=False):
        files.write_arrays(shards.path(range(start, stop)), made(range(start, stop), Sociable, **setup))
    merged = shards.merge()
    for name in ("fingerprints", "labels", "steps", "thumbnails", "logits", "features"):
        np.testing.assert_array_equal(merged[name], whole[name])
    assert set(Sociable.rows) == {size}  # the first, the last and every short shard too


def test_such_a_method_is_moved_by_another_compute_batch_alone() -> None:
    """Else the tests above would show nothing."""
    assert (made(range(60), Sociable, compute_batch=16)["steps"] != made(range(60), Sociable)["steps"]).any()


def test_an_image_does_not_depend_on_how_many_images_its_trial_has() -> None:
    one, other = (shard(Sociable.load("tiny"), [], replace(TRIAL, images=images), range(5)) for images in (5, 60))
    np.testing.assert_array_equal(one["fingerprints"], other["fingerprints"])


def test_extractors_see_whole_compute_batches() -> None:
    class Counting(TinyExtractor):
        seen: ClassVar[list[int]] = []

        def features(self, images: Tensor) -> dict[str, Tensor]:
            self.seen.append(len(images))
            return super().features(images)

    found = shard(FakeMethod.load("tiny"), [Counting()], replace(TRIAL, setup=Setup(compute_batch=16)), range(10, 20))
    assert Counting.seen == [16, 16]
    assert len(found["features"]) == 10


@pytest.mark.parametrize("wrong", [0, -1, 4097, 8.0, True, "8"])
def test_a_compute_batch_out_of_range_is_refused_with_the_valid_range(wrong: Any) -> None:
    with pytest.raises(ArbenchError, match=r"compute_batch = .* out of range \(valid: a whole number from 1 to 4096\)"):
        Setup(compute_batch=wrong)


@pytest.mark.parametrize("cuts", [[0, 60], [0, 7, 14, 60], [0, 39, 41, 60]])
def test_any_cut_gives_the_rows_of_one_piece(tmp_path: Path, cuts: list[int]) -> None:
    whole = made(range(60))
    shards = Shards(tmp_path, 60)
    for start, stop in reversed(list(zip(cuts, cuts[1:], strict=False))):
        files.write_arrays(shards.path(range(start, stop)), made(range(start, stop)))
    merged = shards.merge()
    assert len(merged["thumbnails"]) == THUMBNAILS
    np.testing.assert_array_equal(merged["fingerprints"], whole["fingerprints"])
    for name in ("labels", "steps", "thumbnails", "logits", "features"):
        np.testing.assert_array_equal(merged[name], whole[name])
    assert merged["features"].dtype == np.float32
    shards.remove()
    assert not tmp_path.exists()


def test_fingerprints_tell_images_apart_by_their_tokens() -> None:
    tokens = torch.tensor([[1, 2], [2, 1], [1, 2], [1, 3]])
    first, swapped, again, other = fingerprints(tokens).tolist()
    assert first == again
    assert len({first, swapped, other}) == 3
    assert fingerprints(tokens.int()).tolist() == [first, swapped, again, other]


def test_what_older_shards_lack_is_left_out(tmp_path: Path) -> None:
    shards, old = Shards(tmp_path, 60), made(range(20))
    del old["fingerprints"]
    files.write_arrays(shards.path(range(20)), old)
    files.write_arrays(shards.path(range(20, 60)), made(range(20, 60)))
    merged = shards.merge()
    assert "fingerprints" not in merged and len(merged["steps"]) == 60


def test_shards_that_overlap_do_no_harm(tmp_path: Path) -> None:
    shards = Shards(tmp_path, 60)
    for indices in (range(0, 40), range(30, 60), range(10, 20)):
        files.write_arrays(shards.path(indices), made(indices))
    np.testing.assert_allclose(shards.merge()["features"], made(range(60))["features"], rtol=1e-5, atol=1e-5)


def test_a_trial_with_a_gap_is_not_merged(tmp_path: Path) -> None:
    shards = Shards(tmp_path, 60)
    files.write_arrays(shards.path(range(0, 50)), made(range(0, 50)))
    with pytest.raises(ArbenchError, match="lacks 10 of 60 images"):
        shards.merge()


def test_labels_are_balanced_and_depend_on_the_index_alone() -> None:
    assert list(made(range(5, 10))["labels"]) == [1, 0, 1, 0, 1]


def test_another_extractor_sees_the_same_images() -> None:
    beside = TinyExtractor()
    beside.name = "beside"
    found = shard(FakeMethod.load("tiny"), [TinyExtractor(), beside], TRIAL, range(4))
    np.testing.assert_array_equal(found["features beside"], found["features"])


def test_the_summary_tells_mean_and_spread_of_the_steps_taken() -> None:
    arrays = {"steps": np.array([2, 4, 4, 2]), "seconds": np.array(1.5)}
    unknown = {"code": "unknown", "device": "unknown"}
    assert summary(arrays) == {"images": 4, "steps_mean": 3.0, "steps_std": 1.0, "seconds": 1.5, **unknown}


def test_a_merge_tells_all_devices_that_made_the_shards(tmp_path: Path) -> None:
    shards = Shards(tmp_path, 12)
    for indices, device in ((range(0, 4), "cuda"), (range(4, 8), "cpu"), (range(8, 12), None)):
        origin = {"device": np.array(device)} if device else {}
        files.write_arrays(shards.path(indices), {**made(indices), **origin})
    assert str(shards.merge()["device"]) == "cpu+cuda+unknown"


def test_images_are_rounded_and_clamped() -> None:
    images = torch.tensor([-0.1, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.1])
    assert to_uint8(images).tolist() == [0, 0, 0, 1, 255, 255]
    with pytest.raises(ArbenchError, match="not finite"):
        to_uint8(torch.tensor([0.5, float("nan")]))


def test_truncating_cuts_where_rounding_rounds() -> None:
    images = torch.tensor([-0.1, 0.6 / 255, 1.5 / 255, 254.99 / 255, 1.0, 1.1])
    assert to_uint8(images, "truncate").tolist() == [0, 0, 1, 254, 255, 255]
    assert to_uint8(images, "round").tolist() == [0, 1, 2, 255, 255, 255]


def test_balanced_labels_are_as_many_of_each_class() -> None:
    assert labels("balanced", 3, range(5, 12), 5).tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert labels("balanced", 0, range(50_000), 1000).bincount().tolist() == [50] * 1000


def test_random_labels_are_an_image_s_own_and_independent_of_its_noise() -> None:
    whole = labels("random", 3, range(2000), 10)
    parts = [labels("random", 3, range(start, min(start + 700, 2000)), 10) for start in range(0, 2000, 700)]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(labels("random", 4, range(2000), 10), whole)
    counts = whole.bincount(minlength=10)
    assert counts.min() > 140
    assert len(set(counts.tolist())) > 1
    first = uniforms(3, range(2000), 1)[:, 0]
    assert abs(torch.corrcoef(torch.stack([first, whole.double()]))[0, 1]) < 0.07


def test_shards_that_another_runner_merges_meanwhile_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = Shards(tmp_path / "shards", 60)
    files.write_arrays(shards.path(range(60)), made(range(60)))
    stages: dict[Stage, Path] = {"generate": tmp_path / "generated.npz"}
    planned = TrialPlan(TRIAL, "fake", "key", tmp_path, stages, "tiny", {})
    real = Shards.merge

    def overtaken(self: Shards) -> dict[str, np.ndarray]:
        files.write_arrays(stages["generate"], real(self))
        self.remove()
        return real(self)

    monkeypatch.setattr(Shards, "merge", overtaken)
    assert len(Bench([], tmp_path).generated(planned)["steps"]) == 60


def test_the_shard_that_has_the_first_images_has_their_trace_and_a_merge_keeps_it(tmp_path: Path) -> None:
    shards = Shards(tmp_path, 60)
    for indices in (range(0, 20), range(20, 60)):
        files.write_arrays(shards.path(indices), {**made(indices), "code": np.array("c")})
    assert not traces.kept(made(range(20, 60)))
    merged = shards.merge()
    assert merged["trace grids"].tolist() == [2]
    assert merged["trace order"].tolist() == [[0, 0, 1, 1]] * traces.IMAGES
    assert merged["steps"].shape == (60,)
