"""The modes in which methods run: what a device can do is checked before anything runs."""

import pytest
import torch

from harness.errors import ArbenchError
from harness.execution.modes import AUTO, COMPILE, GRAPH, OFF, resolved

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)


def test_by_default_a_graph_is_replayed_on_cuda_and_methods_run_as_they_are_elsewhere() -> None:
    assert (resolved(AUTO, CUDA), resolved(AUTO, CPU)) == (GRAPH, OFF)
    assert [resolved(mode, CUDA) for mode in (OFF, GRAPH, COMPILE)] == [OFF, GRAPH, COMPILE]


def test_a_mode_that_this_machine_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArbenchError, match="unknown value of capture 'grahp'; did you mean 'graph'?"):
        resolved("grahp", CPU)
    with pytest.raises(ArbenchError, match="'cpu' has no CUDA graphs .valid there: off, compile"):
        resolved(GRAPH, CPU)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ArbenchError, match="needs a C.. compiler on a CPU: .* or clang"):
        resolved(COMPILE, CPU)
    assert resolved(COMPILE, CUDA) == COMPILE
