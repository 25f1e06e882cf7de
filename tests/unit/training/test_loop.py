"""The training loop: a run killed at any moment goes on to the same weights, and what is wrong is said."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import ArbenchError
from harness.training import loop
from harness.training.loop import Plan, Trainee, fit

PLAN = Plan(epochs=3, batch=10, lr=1e-2, warmup=5, ema=0.9)
STEPS = 30
DATA = (torch.randn(103, 4, generator=torch.Generator().manual_seed(9)), torch.arange(103) % 3)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class Toy(Trainee):
    """A classifier with everything that could break a resumption: dropout, a buffer, noise, work after the step."""

    def __init__(self, die_at: int | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.register_buffer("seen", torch.zeros(3))
        self.seen: Tensor
        self.die_at, self.calls = die_at, 0

    def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == self.die_at:
            raise Killed
        noisy = batch[0] + 0.1 * torch.randn(batch[0].shape, generator=generator)
        return {"loss": F.cross_entropy(self.net(noisy).float(), batch[1])}

    def after_step(self, generator: torch.Generator) -> None:
        self.seen += torch.rand(3, generator=generator)


def run(folder: Path, die_at: int | None = None, plan: Plan = PLAN) -> Toy:
    torch.manual_seed(plan.seed)
    toy = Toy(die_at)
    torch.manual_seed(plan.seed + 1)
    fit(toy, DATA, plan, folder)
    return toy


@pytest.fixture
def saved_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY_S", -1.0)


def assert_same(one: nn.Module, other: nn.Module) -> None:
    mine, yours = one.state_dict(), other.state_dict()
    assert mine.keys() == yours.keys()
    for name, value in mine.items():
        assert torch.equal(value, yours[name]), name


@pytest.mark.usefixtures("saved_every_step")
@pytest.mark.parametrize("kills", [[1], [2], [17], [11, 1, 12], [30], [10, 10, 10]])
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path, kills: list[int]) -> None:
    whole = run(tmp_path / "whole")
    for die_at in kills:
        with pytest.raises(Killed):
            run(tmp_path / "killed", die_at)
    resumed = run(tmp_path / "killed")
    assert resumed.calls == STEPS - sum(die_at - 1 for die_at in kills)
    assert_same(resumed, whole)
    for name in ("state.pt", "log.jsonl"):
        assert (tmp_path / "killed" / name).exists()


def test_a_run_killed_between_two_saves_repeats_the_steps_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole")
    monkeypatch.setattr(loop, "SAVE_EVERY_S", -1.0)
    with pytest.raises(Killed):
        run(tmp_path / "killed", 9)
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 1e9)
    with pytest.raises(Killed):
        run(tmp_path / "killed", 12)
    resumed = run(tmp_path / "killed")
    assert resumed.calls == STEPS - 8
    assert_same(resumed, whole)


def test_a_run_that_was_finished_is_not_run_again(tmp_path: Path) -> None:
    whole = run(tmp_path)
    again = run(tmp_path)
    assert again.calls == 0
    assert_same(again, whole)


def test_what_a_killed_run_logged_after_its_last_save_is_not_logged_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY_STEPS", 2)
    with pytest.raises(Killed):
        run(tmp_path, 20)
    run(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(2, STEPS + 1, 2))
    assert all(set(line) == {"step", "seconds", "loss"} for line in lines)


def test_a_save_that_is_cut_short_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY_S", -1.0)
    with pytest.raises(Killed):
        run(tmp_path, 9)
    before = (tmp_path / "state.pt").read_bytes()

    def half(state: object, file: object) -> None:
        file.write(b"half of a state")  # type: ignore[attr-defined]
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(Killed):
            run(tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert_same(run(tmp_path), run(tmp_path / "whole"))


@pytest.mark.usefixtures("saved_every_step")
def test_a_run_with_another_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path, 5)
    with pytest.raises(ArbenchError, match=r"state.pt belongs to a run with another plan .*remove it, or restore it"):
        run(tmp_path, plan=Plan(epochs=4, batch=10, lr=1e-2, warmup=5, ema=0.9))


def test_a_run_that_diverges_is_an_error_and_saves_no_nonsense(tmp_path: Path) -> None:
    class Diverging(Toy):
        def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
            found = super().loss(batch, generator)
            return {"loss": found["loss"] * (float("nan") if self.calls == 4 else 1)}

    with pytest.raises(ArbenchError, match="training diverged: the gradient at step 3 is nan"):
        fit(Diverging(), DATA, PLAN, tmp_path)
    assert not (tmp_path / "state.pt").exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArbenchError, match="cannot write"):
        run(tmp_path / "file" / "runs")


def test_every_epoch_sees_every_image_of_whole_batches_once(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    class Watching(Toy):
        def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
            seen.append(batch[1])
            return super().loss([batch[0], batch[1] % 3], generator)

    fit(Watching(), (DATA[0], torch.arange(103)), PLAN, tmp_path)
    epochs = torch.stack(seen).view(3, -1)
    for epoch in epochs:
        assert len(epoch.unique()) == 100
    assert not torch.equal(epochs[0], epochs[1])


def test_what_is_frozen_stays_and_the_averaged_weights_are_kept(tmp_path: Path) -> None:
    torch.manual_seed(PLAN.seed)
    frozen = Toy().frozen.weight.clone()
    toy = run(tmp_path)
    assert torch.equal(toy.frozen.weight, frozen)
    assert not toy.training
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    kept = toy.state_dict()["net.0.weight"]
    assert torch.equal(kept, state["average"]["net.0.weight"])
    assert not torch.equal(kept, state["trainee"]["net.0.weight"])


def test_the_rate_warms_up_and_falls_by_a_cosine() -> None:
    plan = Plan(epochs=1, batch=1, lr=1.0, warmup=10, final_lr=0.1)
    rates = [plan.rate(step, 110) for step in range(111)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[110] == pytest.approx(0.1)
