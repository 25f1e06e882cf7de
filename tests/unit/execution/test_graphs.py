"""Captured work: what is replayed is what would have run, for every batch and not for the captured one alone."""

import gc
import math
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from baselines.raster import Raster
from harness.conformance.subjects import Knobs, cases, subject
from harness.errors import ArbenchError
from harness.execution.graphs import Captured
from harness.execution.modes import COMPILE, GRAPH, OFF
from harness.execution.running import Running, compared, running, verified
from harness.execution.work import work_of
from harness.inputs import inputs
from harness.method import Generated, Loop, Method
from harness.sampling import Sampling
from tests.helpers.fakes import FakeMethod
from tests.helpers.recording import recording


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws and activations go the way that they go where torch's own functions are the fastest. On a CPU NumPy sorts
    some values, which no recorder sees."""
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)


def captures(name: str, given: Knobs) -> bool:
    method = subject(name)
    return method.captures(method.resolve(given))


@pytest.mark.parametrize(("name", "given"), cases(lambda given: len(given) < 2))
def test_what_is_replayed_is_what_would_have_run(name: str, given: Knobs) -> None:
    method = subject(name)
    knobs, sampling = method.resolve(given), method.preset.sampling
    made = running(method, knobs, sampling, inputs(method, 5, range(4)), GRAPH, recording)
    assert (made.capture, made.why is None) == ((GRAPH, True) if method.captures(knobs) else (OFF, False))
    for first in (0, 4):
        labels, noise = inputs(method, 3, range(first, first + 4))
        usual = method.sample(labels, noise, knobs, sampling)
        found = made.sample(labels, noise)
        assert torch.equal(found.tokens, usual.tokens)
        assert torch.equal(found.steps, usual.steps)
        assert torch.equal(made.decode(found.tokens), method.decode(usual.tokens))


def test_a_result_stays_when_the_next_batch_is_made() -> None:
    method = FakeMethod.load("tiny")
    made = running(method, FakeMethod.resolve({}), Sampling(), inputs(method, 5, range(4)), GRAPH, recording)
    first = made.sample(*inputs(method, 3, range(4)))
    kept, images = first.tokens.clone(), made.decode(first.tokens)
    shown = images.clone()
    second = made.sample(*inputs(method, 3, range(4, 8)))
    made.decode(second.tokens)
    assert not torch.equal(second.tokens, kept)
    assert torch.equal(first.tokens, kept)
    assert torch.equal(images, shown)


def test_a_loop_is_captured_once_for_each_kind_of_step() -> None:
    method = subject("raster")
    labels, noise = inputs(method, 3, range(2))
    loop = method.loop(labels, noise, {}, method.preset.sampling)
    assert loop is not None
    recorded = []

    def counting(function: Any) -> Any:
        recorded.append(function)
        return recording(function)

    Captured(work_of(method, {}, method.preset.sampling), labels, noise, counting)
    assert len(loop.kinds) == method.positions
    assert len(recorded) == len(set(loop.kinds)) + 3  # the steps, and before, after, and the decoder


def test_the_state_of_a_loop_lives_as_long_as_what_was_captured_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph holds addresses alone: state that is freed would be read and written all the same."""
    method = subject("raster")
    states: list[weakref.ref[Any]] = []
    loop_of = type(method).loop

    def noted(*given: Any) -> Loop | None:
        loop = loop_of(*given)
        assert loop is not None
        states.append(weakref.ref(loop.begin.__self__))  # type: ignore[attr-defined]
        return loop

    monkeypatch.setattr(type(method), "loop", noted)
    made = running(method, {}, method.preset.sampling, inputs(method, 3, range(2)), GRAPH, recording)
    gc.collect()
    (state,) = states
    assert state() is not None
    made.decode(made.sample(*inputs(method, 4, range(2))).tokens)
    del made
    gc.collect()
    assert state() is None


def test_a_recording_keeps_what_was_made_in_it_and_nothing_else() -> None:
    outside = torch.ones(3)
    kept = [outside]
    replay, made = recording(lambda: (kept[0].view(3) + 1) * 2)
    outside.fill_(2)
    replay()
    assert made.tolist() == [6, 6, 6]
    kept.clear()
    del outside
    with pytest.raises(RuntimeError, match="memory that was freed"):
        replay()


def test_a_method_with_sampling_of_its_own_does_not_inherit_a_loop() -> None:
    class Colder(Raster):
        def sample(self, labels: Tensor, noise: Tensor, knobs: Any, sampling: Sampling) -> Generated:
            return super().sample(labels, noise, knobs, replace(sampling, temperature=0.5))

    class Renamed(Raster):
        pass

    class Cold:
        def sample(self, *given: Any) -> Generated:
            raise NotImplementedError

    class Mixed(Cold, Raster):
        pass

    class Again(Colder):
        def loop(self, *given: Any) -> Loop:
            return Raster.loop(self, *given)

    labels, noise = torch.zeros(1, dtype=torch.int64), torch.zeros(1, 49, dtype=torch.float64)
    assert Colder.build("fmnist").loop(labels, noise, {}, Sampling()) is None
    assert Mixed.build("fmnist").loop(labels, noise, {}, Sampling()) is None
    assert Renamed.build("fmnist").loop(labels, noise, {}, Sampling()) is not None
    assert Again.build("fmnist").loop(labels, noise, {}, Sampling()) is not None


def test_a_subclass_with_sampling_of_its_own_can_call_that_of_the_base_on_a_gpu() -> None:
    class Colder(Raster):
        def sample(self, labels: Tensor, noise: Tensor, knobs: Any, sampling: Sampling) -> Generated:
            return super().sample(labels, noise, knobs, replace(sampling, temperature=0.5))

    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            method = Colder.build("fmnist").eval()
        labels, noise = torch.zeros(1, dtype=torch.int64, device="cuda"), torch.zeros(1, 49, device="cuda")
        assert method.sample(labels, noise.double(), {}, Sampling()).tokens.shape == (1, 49)


class Forgetful(FakeMethod):
    """A method that takes a value of the first batch for good, as no captured method may."""

    def sample(self, labels: Tensor, noise: Tensor, knobs: Any, sampling: Sampling) -> Generated:
        made = super().sample(labels, noise, knobs, sampling)
        return Generated((made.tokens + int(labels.numpy()[0]) % 2) % self.vocabulary, made.steps)


def test_a_first_batch_that_differs_is_an_error_that_names_the_method_and_a_way_out() -> None:
    method: Method = Forgetful.load("tiny")
    knobs = FakeMethod.resolve({})
    plain = running(method, knobs, Sampling(), inputs(method, 5, range(4)), OFF)
    made = running(method, knobs, Sampling(), inputs(method, 5, range(4)), GRAPH, recording)
    assert verified(made, plain, *inputs(method, 5, range(4)), "forgetful") is made
    with pytest.raises(ArbenchError, match="forgetful: 100% of the images .*captures.. .*capture = .off. in"):
        verified(made, plain, *inputs(method, 5, range(1, 5)), "forgetful")


def test_images_of_the_same_tokens_that_differ_are_an_error_too() -> None:
    method = FakeMethod.load("tiny")
    batch = inputs(method, 5, range(4))
    plain = running(method, FakeMethod.resolve({}), Sampling(), batch, OFF)
    for shift, said in ((1e-6, "differ by up to 1"), (math.nan, "differ by up to nan")):
        made = Running(plain.sample, lambda tokens, shift=shift: method.decode(tokens) + shift, GRAPH)  # type: ignore[misc]
        with pytest.raises(ArbenchError, match=f"fake: images of the same tokens {said}"):
            verified(made, plain, *batch, "fake")
    for shift, wrong in ((0.001, None), (0.1, "images of the same tokens differ by 0.1 on average")):
        made = Running(plain.sample, lambda tokens, shift=shift: method.decode(tokens) + shift, COMPILE)  # type: ignore[misc]
        assert compared(made, plain, *batch) == (1, wrong)


def test_compiling_a_loop_compiles_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def noting(function: Any) -> Any:
        compiled.append(function)
        return function

    monkeypatch.setattr("harness.execution.work.compiled", noting)
    method = subject("raster")
    batch = inputs(method, 3, range(3))
    made = running(method, {}, method.preset.sampling, batch, COMPILE)
    assert made.capture == COMPILE
    loop = method.loop(*batch, {}, method.preset.sampling)
    assert isinstance(loop, Loop)
    assert len(compiled) == 2 + len(set(loop.kinds))  # of ``sample`` and ``decode`` the second is used
    for seed in (3, 4):
        labels, noise = inputs(method, seed, range(3))
        usual = method.sample(labels, noise, {}, method.preset.sampling)
        assert torch.equal(made.sample(labels, noise).tokens, usual.tokens)
