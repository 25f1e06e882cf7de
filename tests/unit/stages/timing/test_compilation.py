"""torch.compile as an option of the protocol: the same for all, stated, held to the same images, refused where it
cannot be."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from harness import cli
from harness.errors import ArbenchError
from harness.method import Generated, Method
from harness.records.store import Store
from harness.sampling import Sampling
from harness.stages.timing import stage as timing
from harness.stages.timing.compilation import DEFAULT, GRAPHS, NONE, checked
from harness.stages.timing.protocol import Protocol
from harness.stages.timing.stage import Case, interleaved
from tests.helpers import sweeping
from tests.helpers.fakes import FakeMethod

CPU = torch.device("cpu")
QUICK = Protocol(throughput_batch=2, min_rounds=2, max_rounds=2, least_seconds=0, compile=DEFAULT)


def case(steps: int) -> Case:
    return "fake", FakeMethod.load("tiny"), FakeMethod.resolve({"steps": steps}), Sampling()


def test_a_mode_that_this_machine_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(NONE, CPU) == NONE
    with pytest.raises(ArbenchError, match="unknown value of compile 'defualt'; did you mean 'default'?"):
        checked("defualt", CPU)
    with pytest.raises(ArbenchError, match="'cpu' has no CUDA graphs .valid there: none, default"):
        checked(GRAPHS, CPU)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ArbenchError, match="needs a C.. compiler on a CPU: .* or clang"):
        checked(DEFAULT, CPU)
    assert checked(GRAPHS, torch.device("cuda")) == GRAPHS
    assert checked(NONE, CPU) == NONE


@pytest.mark.slow
def test_what_is_compiled_draws_the_same_images_and_is_timed_apart_from_compiling() -> None:
    before = counters["stats"]["unique_graphs"]
    (found,) = interleaved([case(1)], QUICK)
    assert "failure" not in found, found
    assert counters["stats"]["unique_graphs"] > before
    assert found["compiled"]["alike"] == 1
    assert found["compiled"]["seconds"] > 10 * max(found["latency"]["samples"] + found["throughput"]["samples"])
    assert found["protocol"]["compile"] == DEFAULT


def test_what_is_not_compiled_says_so() -> None:
    (found,) = interleaved([case(1)], Protocol(throughput_batch=2, min_rounds=1, max_rounds=1, least_seconds=0))
    assert (found["compiled"], found["protocol"]["compile"]) == (None, NONE)


def test_other_images_than_without_a_compiler_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(method: Method, mode: str) -> Any:
        def sample(*given: Any) -> Generated:
            made = method.sample(*given)
            made.tokens[0] = (made.tokens[0] + 1) % method.vocabulary
            return made

        return sample, method.decode

    monkeypatch.setattr(timing, "compiled", wrong)
    (found,) = interleaved([case(1)], QUICK)
    assert found["compiled"]["alike"] == 0  # the least of both batches: of one image none, of two images half


def test_a_case_that_does_not_compile_is_given_up_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [case(1), case(2)]

    def refuse(method: Method, mode: str) -> Any:
        if method is cases[0][1]:
            raise RuntimeError("no graph\nof this")
        return method.sample, method.decode

    monkeypatch.setattr(timing, "compiled", refuse)
    bad, good = interleaved(cases, QUICK)
    assert bad["failure"].startswith("RuntimeError: no graph")
    assert len(good["latency"]["samples"]) == len(good["throughput"]["samples"]) == 2


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder with the small sweep in it, the fake method in the real ones' place."""
    with sweeping.in_folder(tmp_path):
        yield tmp_path


def run(folder: Path, compile: str) -> int:
    (folder / "small.toml").write_text(sweeping.SWEEP.replace("[timing]", f'[timing]\ncompile = "{compile}"'))
    return cli.main(["run", str(folder / "small.toml"), "--store", str(folder / "store"), "--workers", "0"])


@pytest.mark.parametrize(
    ("mode", "said"),
    [(GRAPHS, "'cpu' has no CUDA graphs"), ("fast", "small.toml: [timing]: unknown value of compile 'fast'")],
)
def test_a_sweep_that_cannot_be_compiled_ends_before_anything_runs(
    small: Path, capsys: pytest.CaptureFixture[str], mode: str, said: str
) -> None:
    assert run(small, mode) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (small / "store" / "work").exists()


def test_records_of_another_mode_have_another_key_and_the_same_scores(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "compiled", lambda method, mode: (method.sample, method.decode))
    monkeypatch.setenv(sweeping.LOG, str(small / "sampled.log"))
    assert run(small, NONE) == 0
    made = {path.name: path.stat().st_mtime_ns for path in (small / "store").glob("work/*/quality-*.json")}
    assert run(small, DEFAULT) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (small / "store").glob("work/*/quality-*.json")} == made
    both = list(Store(small / "store").all_records())
    assert len({record["key"] for record in both}) == 6
    for steps in (1, 2, 4):
        one, other = (record for record in both if record["trial"]["knobs"]["steps"] == steps)
        assert one["flops"] == other["flops"] and one["quality"] == other["quality"]
    assert {record["timing"]["protocol"]["compile"] for record in Store(small / "store").records()} == {DEFAULT}
