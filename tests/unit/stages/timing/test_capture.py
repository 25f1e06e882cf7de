"""Capturing and compiling as an option of the protocol: the same for all, stated, held to the same images, and refused
where it cannot be. What is captured on CUDA has a second clock."""

import gc
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace as Namespace
from typing import Any

import pytest
from torch._dynamo.utils import counters

from harness import cli
from harness.execution.modes import COMPILE, GRAPH, OFF
from harness.execution.running import Running, running
from harness.jobs import bench
from harness.method import Generated, Method
from harness.records.store import Store
from harness.sampling import Sampling
from harness.stages.generate import stage as generate
from harness.stages.timing import cases as timing
from harness.stages.timing import stage
from harness.stages.timing.cases import Case
from harness.stages.timing.protocol import Protocol
from harness.stages.timing.stage import interleaved
from tests.helpers import sweeping
from tests.helpers.fakes import FakeMethod

QUICK = Protocol(throughput_batch=2, min_rounds=2, max_rounds=2, least_seconds=0, capture=COMPILE)


def case(steps: int) -> Case:
    return "fake", FakeMethod.load("tiny"), FakeMethod.resolve({"steps": steps}), Sampling()


@pytest.mark.slow
def test_what_is_compiled_draws_the_same_images_and_is_timed_apart_from_compiling() -> None:
    before = counters["stats"]["unique_graphs"]
    (found,) = interleaved([case(1)], QUICK)
    assert "failure" not in found, found
    assert counters["stats"]["unique_graphs"] > before
    assert (found["capture"]["alike"], found["capture"]["mode"]) == (1, COMPILE)
    assert found["capture"]["seconds"] > 10 * max(found["latency"]["samples"] + found["throughput"]["samples"])
    assert found["protocol"]["capture"] == COMPILE


def test_on_a_cpu_methods_run_as_they_are_unless_told_otherwise() -> None:
    (found,) = interleaved([case(1)], Protocol(throughput_batch=2, min_rounds=1, max_rounds=1, least_seconds=0))
    assert (found["capture"], found["eager"], found["protocol"]["capture"]) == (None, None, OFF)


def wrong(method: Method, knobs: Any, sampling: Sampling, batch: Any, mode: str) -> Running:
    """In any mode but off, another token in the first image."""
    plain = running(method, knobs, sampling, batch, OFF)

    def sample(*given: Any) -> Generated:
        made = plain.sample(*given)
        if mode != OFF:
            made.tokens[0] = (made.tokens[0] + 1) % method.vocabulary
        return made

    return Running(sample, method.decode, mode)


def test_other_images_than_without_a_compiler_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "running", wrong)
    (found,) = interleaved([case(1)], QUICK)
    assert found["capture"]["alike"] == 0  # the least of both batches: of one image none, of two images half


def test_a_captured_case_with_other_tokens_has_no_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "running", wrong)
    monkeypatch.setattr(stage, "resolved", lambda capture, device: GRAPH)
    (found,) = interleaved([case(1)], replace(QUICK, capture=GRAPH))
    assert "fake: 100% of the images of a batch have other tokens" in found["failure"]
    assert "latency" not in found


def test_a_case_is_captured_on_another_batch_than_the_one_that_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken for good from the batch that was captured would otherwise be right."""
    compared: list[Any] = []

    def stuck(method: Method, knobs: Any, sampling: Sampling, batch: Any, mode: str) -> Running:
        plain = running(method, knobs, sampling, batch, OFF)

        def sample(labels: Any, noise: Any) -> Generated:
            compared.append((labels, noise))
            return plain.sample(*batch) if mode != OFF else plain.sample(labels, noise)

        return Running(sample, method.decode, mode)

    monkeypatch.setattr(timing, "running", stuck)
    monkeypatch.setattr(stage, "resolved", lambda capture, device: GRAPH)
    (found,) = interleaved([case(4)], replace(QUICK, capture=GRAPH))
    assert "of the images of a batch have other tokens" in found["failure"]
    assert len(compared) == 4


def test_a_case_that_does_not_compile_is_given_up_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [case(1), case(2)]

    def refuse(method: Method, knobs: Any, sampling: Sampling, batch: Any, mode: str) -> Running:
        if method is cases[0][1] and mode != OFF:
            raise RuntimeError("no graph\nof this")
        return running(method, knobs, sampling, batch, OFF)

    monkeypatch.setattr(timing, "running", refuse)
    bad, good = interleaved(cases, QUICK)
    assert bad["failure"].startswith("RuntimeError: no graph")
    assert len(good["latency"]["samples"]) == len(good["throughput"]["samples"]) == 2


def test_on_cuda_what_is_captured_is_timed_without_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The captured times are those of the row; the others stand beside them."""

    def slower_eager(method: Method, knobs: Any, sampling: Sampling, batch: Any, mode: str) -> Running:
        plain = running(method, knobs, sampling, batch, OFF)

        def sample(*given: Any) -> Generated:
            time.sleep(0.2 if mode == OFF else 0)
            return plain.sample(*given)

        content = knobs["steps"] == 2  # as if this case could not be captured
        return Running(sample, method.decode, OFF if content else mode, "not captured: as said" if content else None)

    monkeypatch.setattr(timing, "running", slower_eager)
    monkeypatch.setattr(stage, "resolved", lambda capture, device: GRAPH)
    monkeypatch.setattr(stage, "_on_cuda", lambda run: True)
    lines: list[str] = []
    one, other = interleaved([case(1), case(2)], replace(QUICK, capture=GRAPH), lines.append)
    assert one["capture"] | {"seconds": 0} == {"mode": GRAPH, "why": None, "seconds": 0, "alike": 1.0}
    for kind in ("latency", "throughput"):
        assert one["eager"][kind]["total_s"] > one[kind]["total_s"] + 0.05
    assert one["eager"]["throughput"]["images_per_s"] < one["throughput"]["images_per_s"]
    assert (other["eager"], other["capture"]["why"]) == (None, "not captured: as said")
    assert [line for line in lines if "not captured: 1 cases warm" in line]


def test_a_fault_in_mode_off_costs_a_captured_case_its_second_clock_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [case(1), case(2)]

    def starving(method: Method, knobs: Any, sampling: Sampling, batch: Any, mode: str) -> Running:
        plain = running(method, knobs, sampling, batch, OFF)
        phases = counted[id(method)] = counted.get(id(method), 0) + (mode == OFF)

        def sample(*given: Any) -> Generated:
            if mode == OFF and method is cases[0][1] and phases > 2:  # beyond those that the captured runs compare with
                raise RuntimeError("out of memory")
            return plain.sample(*given)

        return Running(sample, method.decode, mode)

    counted: dict[int, int] = {}
    monkeypatch.setattr(timing, "running", starving)
    monkeypatch.setattr(stage, "resolved", lambda capture, device: GRAPH)
    monkeypatch.setattr(stage, "_on_cuda", lambda run: True)
    one, other = interleaved(cases, replace(QUICK, capture=GRAPH))
    assert (one["eager"], one["eager_why"]) == (None, "RuntimeError: out of memory")
    assert len(one["latency"]["samples"]) == len(one["throughput"]["samples"]) == 2
    assert other["eager"]["latency"]["samples"] and other["eager_why"] is None


def test_memory_on_the_gpu_is_that_of_mode_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay allocates nothing: graphs get their memory when they are captured."""

    @contextmanager
    def memory(device: Any) -> Iterator[dict[str, Any]]:
        found: dict[str, Any] = {"peak_memory_mb": 1.0, "gpu_peak_memory_mb": next(peaks)}
        yield found

    monkeypatch.setattr(
        timing,
        "running",
        lambda method, knobs, sampling, batch, mode: Running(
            running(method, knobs, sampling, batch, OFF).sample, method.decode, mode
        ),
    )
    monkeypatch.setattr(stage, "resolved", lambda capture, device: GRAPH)
    monkeypatch.setattr(stage, "_on_cuda", lambda run: True)
    monkeypatch.setattr(stage, "peak_memory", memory)
    peaks = iter((10.0, 11.0, 20.0, 21.0))
    (found,) = interleaved([case(1)], replace(QUICK, capture=GRAPH))
    assert (found["gpu_peak_memory_mb"], found["peak_memory_mb"]) == (21.0, 1.0)


@pytest.mark.parametrize("protocol", [GRAPH, "auto"])
def test_a_session_whose_methods_cannot_be_loaded_records_why(protocol: str) -> None:
    def missing() -> Method:
        raise RuntimeError("out of memory")

    sources: list[Case] = [("one", missing, {}, Sampling()), ("other", missing, {}, Sampling())]
    for found in interleaved(sources, replace(QUICK, capture=protocol)):
        assert found["failure"] == "RuntimeError: out of memory"


def test_a_method_without_weights_stays_on_the_cpu_and_says_that_it_has_no_graphs_there() -> None:
    class Weightless(FakeMethod):
        def parameters(self, recurse: bool = True) -> Iterator[Any]:
            return iter(())

    found = interleaved(
        [("fake", Weightless.load("tiny"), FakeMethod.resolve({}), Sampling())], replace(QUICK, capture=GRAPH)
    )
    assert ["'cpu' has no CUDA graphs" in one["failure"] for one in found] == [True]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder with the small sweep in it, the fake method in the real ones' place."""
    with sweeping.in_folder(tmp_path):
        yield tmp_path


def run(folder: Path, capture: str) -> int:
    (folder / "small.toml").write_text(sweeping.SWEEP.replace("[timing]", f'[timing]\ncapture = "{capture}"'))
    return cli.main(["run", str(folder / "small.toml"), "--store", str(folder / "store"), "--workers", "0"])


@pytest.mark.parametrize(
    ("mode", "said"),
    [(GRAPH, "'cpu' has no CUDA graphs"), ("fast", "small.toml: [timing]: unknown value of capture 'fast'")],
)
def test_a_sweep_that_cannot_be_captured_ends_before_anything_runs(
    small: Path, capsys: pytest.CaptureFixture[str], mode: str, said: str
) -> None:
    assert run(small, mode) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (small / "store" / "work").exists()


def test_records_of_another_mode_have_another_key_and_the_same_scores(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uncompiled(method: Method, knobs: Any, sampling: Sampling, batch: Any, mode: str) -> Running:
        return running(method, knobs, sampling, batch, OFF)

    monkeypatch.setattr(timing, "running", uncompiled)
    monkeypatch.setenv(sweeping.LOG, str(small / "sampled.log"))
    assert run(small, OFF) == 0
    made = {path.name: path.stat().st_mtime_ns for path in (small / "store").glob("work/*/quality-*.json")}
    assert run(small, COMPILE) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (small / "store").glob("work/*/quality-*.json")} == made
    both = list(Store(small / "store").all_records())
    assert len({record["key"] for record in both}) == 6
    for steps in (1, 2, 4):
        one, other = (record for record in both if record["trial"]["knobs"]["steps"] == steps)
        assert one["flops"] == other["flops"] and one["quality"] == other["quality"]
    assert {record["timing"]["protocol"]["capture"] for record in Store(small / "store").records()} == {COMPILE}


def test_a_compiled_sweep_on_a_cpu_generates_its_images_as_they_are(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU has no graphs, and generation is never compiled: the first run of such a sweep makes all images."""
    monkeypatch.setattr(
        timing,
        "running",
        lambda method, knobs, sampling, batch, mode: Running(
            running(method, knobs, sampling, batch, OFF).sample, method.decode, mode
        ),
    )
    assert run(small, COMPILE) == 0
    records = list(Store(small / "store").records())
    assert len(records) == 3 and {record["status"] for record in records} == {"done"}
    assert {record["timing"]["capture"]["mode"] for record in records} == {COMPILE}


def test_nothing_that_generation_has_loaded_is_there_when_timing_begins(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods: list[weakref.ref[Method]] = []

    def noted(method: Method, *given: Any) -> Running:
        methods.append(weakref.ref(method))
        return generate.prepared(method, *given)

    def timed(*given: Any) -> Any:
        gc.collect()
        assert methods and not [method for method in methods if method() is not None]
        return interleaved(*given)

    monkeypatch.setattr(bench, "generate", Namespace(**vars(generate) | {"prepared": noted}))
    monkeypatch.setattr(bench, "interleaved", timed)
    assert run(small, OFF) == 0


def test_the_key_of_before_is_told_with_the_new_one(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small / "small.toml").write_text(sweeping.SWEEP.replace("[timing]", '[timing]\ncompile = "default"'))
    assert cli.main(["run", str(small / "small.toml"), "--store", str(small / "store")]) == 2
    assert "key 'compile' is now 'capture' (valid: auto, off, graph, compile)" in capsys.readouterr().err
