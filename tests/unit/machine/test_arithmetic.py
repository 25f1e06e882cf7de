"""float32 means float32 unless TF32 is asked for, and torch's settings are afterwards what they were."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from harness.extractors.base import Extractor
from harness.images.datasets import Images
from harness.jobs import loading
from harness.jobs.bench import Bench
from harness.jobs.plan import Instrument, Job, plan
from harness.machine.arithmetic import arithmetic
from harness.method import Generated, KnobValue
from harness.records.store import Store
from harness.sampling import Sampling
from harness.setup import Setup
from harness.stages.generate.stage import shard
from harness.stages.quality.reference import read, write
from harness.stages.quality.reference_data import reference_for
from harness.stages.timing.protocol import Protocol
from harness.stages.timing.stage import interleaved
from harness.trial import Trial
from tests.helpers import sweeping
from tests.helpers.fakes import FakeMethod

BACKENDS: Any = torch.backends
GPU = ("cuda.matmul", "cudnn.conv", "cudnn.rnn")
CPU = ("mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


def flags(backends: Any = torch.backends) -> dict[str, str]:
    """torch's settings for products of float32, by operator."""
    found = {}
    for name in (*GPU, *CPU):
        module, operator = name.split(".")
        found[name] = getattr(getattr(backends, module), operator).fp32_precision
    return found


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    """Every test leaves torch as it was."""
    before = flags()
    yield
    assert flags() == before


@pytest.mark.parametrize(("tf32", "on_gpu"), [("off", "ieee"), ("on", "tf32")])
def test_matrix_products_and_convolutions_follow_and_a_cpu_stays_exact(tf32: str, on_gpu: str) -> None:
    with arithmetic(tf32):
        assert {flags()[name] for name in GPU} == {on_gpu}
        assert {flags()[name] for name in CPU} == {"ieee"}


def older() -> tuple[Any, ...]:
    """What torch's older functions say. They raise RuntimeError where the two interfaces contradict each other."""
    with BACKENDS.cudnn.flags(enabled=None, allow_tf32=None):  # torch.export and methods call it
        pass
    return torch.get_float32_matmul_precision(), BACKENDS.cuda.matmul.allow_tf32, BACKENDS.cudnn.allow_tf32


def test_what_was_set_before_is_restored_after_an_error_and_from_within() -> None:
    before = flags()
    assert before["cudnn.conv"] == "tf32"  # torch's default, which is why this has to be said
    with pytest.raises(KeyError), arithmetic("off"), arithmetic("on"):
        raise KeyError
    with arithmetic("on"):
        with arithmetic("off"):
            assert flags()["cuda.matmul"] == "ieee"
        assert flags()["cuda.matmul"] == "tf32"
    assert flags() == before


def test_torchs_older_functions_say_the_same_as_its_newer_ones() -> None:
    usual = older()
    for tf32, wanted in (("off", ("highest", False, False)), ("on", ("high", True, True))):
        with arithmetic(tf32):
            assert older() == wanted
            for inner, other in (("on", ("high", True, True)), ("off", ("highest", False, False))):
                with arithmetic(inner):
                    assert older() == other
            assert older() == wanted
        assert older() == usual


@pytest.mark.parametrize("tf32", ["off", "on"])
def test_the_arithmetic_stays_after_flags_of_cudnn(tf32: str) -> None:
    with arithmetic(tf32):
        inside = flags()
        with BACKENDS.cudnn.flags(enabled=True, deterministic=True):
            pass
        assert flags() == inside


def _older_within() -> None:
    BACKENDS.cudnn.allow_tf32 = not BACKENDS.cudnn.allow_tf32
    torch.set_float32_matmul_precision("medium")


def _newer_within() -> None:
    BACKENDS.fp32_precision = "tf32"
    BACKENDS.cudnn.fp32_precision = "tf32"
    BACKENDS.cudnn.rnn.fp32_precision = "ieee"


@pytest.mark.parametrize("tf32", ["off", "on"])
@pytest.mark.parametrize("change", [_older_within, _newer_within])
def test_what_a_method_sets_inside_does_not_last(tf32: str, change: Callable[[], None]) -> None:
    before = flags(), older(), BACKENDS.fp32_precision, BACKENDS.cudnn.fp32_precision
    with arithmetic(tf32):
        change()
    after = flags(), older(), BACKENDS.fp32_precision, BACKENDS.cudnn.fp32_precision
    assert after == before


@pytest.mark.parametrize("tf32", ["off", "on"])
def test_settings_that_contradicted_each_other_before_are_left_so(tf32: str) -> None:
    """A program may have used one interface alone. Its settings hold again afterwards."""
    try:
        BACKENDS.cudnn.conv.fp32_precision = BACKENDS.cudnn.rnn.fp32_precision = "ieee"
        BACKENDS.cuda.matmul.fp32_precision = "tf32"
        before = flags()
        with arithmetic(tf32):
            older()
        assert flags() == before
        with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
            torch.get_float32_matmul_precision()
        BACKENDS.cudnn.conv.fp32_precision = BACKENDS.cudnn.rnn.fp32_precision = "tf32"
        assert BACKENDS.cudnn.allow_tf32 is True
    finally:
        BACKENDS.cudnn.allow_tf32 = True
        BACKENDS.cuda.matmul.fp32_precision = "none"


@pytest.mark.parametrize("tf32", ["off", "on"])
def test_an_operator_that_inherits_its_setting_inherits_it_afterwards(tf32: str) -> None:
    BACKENDS.cudnn.fp32_precision = "ieee"
    try:
        with arithmetic(tf32):
            pass
        assert BACKENDS.cuda.matmul.fp32_precision == "ieee"
        BACKENDS.cudnn.fp32_precision = "tf32"
        assert BACKENDS.cuda.matmul.fp32_precision == "tf32"
    finally:
        BACKENDS.cudnn.fp32_precision = "none"


def test_setting_the_arithmetic_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with arithmetic("on"), arithmetic("off"):
            pass


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tf32 'perhaps' \(valid: off, on\)"), arithmetic("perhaps"):
        pass


class Noting(FakeMethod):
    """Notes under which setting it samples and decodes."""

    seen: ClassVar[list[str]] = []

    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        self.seen.append(flags()["cuda.matmul"])
        return super().sample(labels, noise, knobs, sampling)

    def decode(self, tokens: Tensor) -> Tensor:
        self.seen.append(flags()["cudnn.conv"])
        return super().decode(tokens)


class Looking(sweeping.TinyExtractor):
    """Notes under which setting it looks at images."""

    seen: ClassVar[list[str]] = []

    def features(self, images: Tensor) -> dict[str, Tensor]:
        self.seen.append(flags()["cudnn.conv"])
        return super().features(images)


@pytest.mark.parametrize(("tf32", "wanted"), [("off", {"ieee"}), ("on", {"tf32"})])
def test_every_stage_of_a_trial_computes_as_its_setup_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tf32: str, wanted: set[str]
) -> None:
    with sweeping.in_folder(tmp_path):
        monkeypatch.setattr(loading, "_trained", lambda planned: Noting())
        named, protocol = (("tiny", None),), Protocol(throughput_batch=2, min_rounds=1, max_rounds=1)
        bench = Bench(named, tmp_path / "references", protocol)
        instrument = Instrument(named, {"tiny": bench.references("tiny")}, protocol)
        planned = plan(Trial.of("fake", "tiny", images=7, setup={"tf32": tf32}), instrument, Store(tmp_path / "store"))
        for job in (Job(planned, "generate", range(7)), Job(planned, "flops")):
            Noting.seen.clear()
            bench.do(job)
            assert set(Noting.seen) == wanted, job.stage
        Noting.seen.clear()
        ((_, failure),) = bench.session([Job(planned, "timing")], lambda line: None)
        assert failure is None and set(Noting.seen) == wanted
        assert loading.load(planned).tf32 == tf32


def test_extractors_do_without_tf32_whatever_the_trial_says_unless_they_ask_for_it() -> None:
    trial = Trial("fake", "tiny", {"steps": 2, "shade": "plain"}, Sampling(cfg=1.5), 3, 8, Setup(tf32="on"))
    usual, asking = Looking(), Looking()
    asking.name, asking.tf32 = "asking", "on"
    Looking.seen.clear()
    shard(FakeMethod.load("tiny"), [usual, asking], trial, range(8))
    assert Looking.seen == ["ieee", "tf32"]


def test_the_choice_is_in_the_key_and_in_the_facts_of_a_reference_and_earlier_keys_stay(tmp_path: Path) -> None:
    images = sweeping.tiny_images("tiny")
    usual = reference_for(images, Looking(), tmp_path)
    asking = Looking()
    asking.tf32 = "on"
    Looking.seen.clear()
    other = reference_for(images, asking, tmp_path)
    assert set(Looking.seen) == {"tf32"}
    assert other.key != usual.key
    assert (usual.about()["tf32"], other.about()["tf32"]) == ("off", "on")
    assert "tf32" not in usual.facts  # so that the keys of earlier versions, made on CPUs, still hold
    write(tmp_path / "kept.npz", other)
    assert read(tmp_path / "kept.npz").tf32 == "on"


def test_an_extractor_is_never_left_to_torchs_default(tmp_path: Path) -> None:
    class Plain(Extractor):
        def __init__(self) -> None:
            super().__init__("plain", nn.Linear(1, 1), tmp_path)

        def features(self, images: Tensor) -> dict[str, Tensor]:
            rows = torch.zeros(len(images), 3)
            return {"features": rows + (flags()["cudnn.conv"] == "tf32"), "logits": rows}

    data = Images(torch.zeros(8, 1, 4, 4, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64), "zeros")
    reference = reference_for(data, Plain(), tmp_path)
    assert reference.within is not None and not reference.within.features.any()


def test_cases_of_one_session_are_timed_each_in_its_own_arithmetic() -> None:
    one, other = Noting.load("tiny"), Noting.load("tiny")
    other.tf32 = "on"
    Noting.seen.clear()
    knobs, sampling = FakeMethod.resolve({}), Sampling(cfg=1.5)
    protocol = Protocol(throughput_batch=2, warmup=1, min_rounds=1, max_rounds=1)
    cases = [(name, method, knobs, sampling) for name, method in (("one", one), ("other", other))]
    assert all("failure" not in found for found in interleaved(cases, protocol))
    assert sorted(set(Noting.seen)) == ["ieee", "tf32"]
    assert Noting.seen.count("ieee") == Noting.seen.count("tf32")
