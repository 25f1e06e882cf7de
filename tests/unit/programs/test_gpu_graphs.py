"""The part of `nox -s gpu` that follows a graph's life, with a recorder that needs no GPU."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from harness.execution.modes import GRAPH
from harness.execution.running import running
from tests.helpers.recording import recording
from tests.programs.gpu import compiled, graphs
from tests.programs.gpu.lines import FAILED, HELD
from tests.programs.gpu.parts import Bench
from tests.programs.gpu.settings import FAKE


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """On a CPU, where work is captured by a recorder in place of CUDA graphs."""
    monkeypatch.setattr(graphs, "resolved", lambda capture, device: GRAPH)
    monkeypatch.setattr(graphs, "running", partial(running, record=recording))
    said: list[str] = []
    return Bench(torch.device("cpu"), FAKE, tmp_path, said.append, seconds=1.0, limit=60.0)


@pytest.mark.parametrize("order", [graphs.again, graphs.after_a_fault])
def test_tokens_are_the_same_whatever_was_captured_before(bench: Bench, order: Callable[[Bench], float]) -> None:
    assert order(bench) == 1.0


def test_a_capture_that_had_to_fail_and_did_not_is_a_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgiving(function: Callable[[], object]) -> tuple[Callable[[], object], object]:
        return function, function()

    monkeypatch.setattr(graphs, "running", partial(running, record=forgiving))  # type: ignore[arg-type]
    with pytest.raises(graphs.NoFaultError, match="was captured"):
        graphs.after_a_fault(bench)


def test_an_order_that_breaks_does_not_cost_the_others_their_lines(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(found: Bench) -> float:
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    for name, order in (("again", broken), ("sessions", lambda _: 1.0), ("emptied", lambda _: 0.5)):
        monkeypatch.setattr(graphs, name, order)
    monkeypatch.setattr(graphs, "after_a_fault", lambda _: 1.0)
    verdicts = [line.verdict for line in graphs.run(bench)]
    assert verdicts == [FAILED, HELD, "MISSED", HELD]
    assert bench.figures["graphs"]["raster in bf16, memory given back between two replays"] == 0.5


def test_compilations_are_counted() -> None:
    before = compiled.compilations()
    made = torch.compile(lambda x: x + 1, backend="eager")
    made(torch.zeros(3))
    made(torch.ones(3))
    assert compiled.compilations() == before + 1
