"""One training loop for everything that is trained. It uses bf16, AdamW and averaged weights. The learning rate warms
up and then falls along a cosine.

A killed run can be resumed. The resumed run gives the same weights as an uninterrupted run, because batches and random
numbers depend on (seed, step) only. The state of the run is saved to a file, by default every minute. The state
includes torch's global generator, for dropout. The file is written under a temporary name, then renamed.

A ``Crew`` computes the gradients of a step. The crew is either this process alone (``Alone``), or several processes
(``harness.training.processes``).
"""

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness import files
from harness.errors import ArbenchError
from harness.machine.arithmetic import arithmetic

SAVE_EVERY_S = 60.0
LOG_EVERY_STEPS = 50


@dataclass(frozen=True)
class Plan:
    """The hyperparameters of a training run."""

    epochs: int
    batch: int
    lr: float  # highest learning rate
    seed: int = 0
    warmup: int = 100  # number of steps in which the learning rate rises; after them it falls along a cosine
    final_lr: float = 0.02  # learning rate at the end, as a share of ``lr``
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    ema: float = 0.999  # decay of the averaged weights; the averaged weights are the result of the training

    def steps(self, rows: int) -> int:
        """Number of steps in all, on this many rows of data. Only whole batches count."""
        return self.epochs * (rows // self.batch)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate at a step."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(steps - self.warmup, 1)
        return self.lr * (self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * done)))


class Draws(torch.Generator):
    """Random generator of one training step. If the batch is split into parts, each part has its own generator, and
    all these generators have the same seed.

    A value that is drawn once per step is therefore the same in all parts. To draw one value per row, use
    ``row_uniforms``. That function draws values for the whole batch, and returns only the values for this part's rows.

    part: the rows of this part.
    whole: number of rows in the whole batch.
    """

    def __new__(cls, seed: int, part: slice, whole: int) -> "Draws":
        return super().__new__(cls)

    def __init__(self, seed: int, part: slice, whole: int) -> None:
        super().__init__()
        self.manual_seed(seed)
        self.part, self.whole = part, whole  # rows of this part; number of rows in the whole batch


def row_uniforms(rows: int, generator: torch.Generator) -> Tensor:
    """Uniform random numbers in [0, 1), one per row. If the batch is split, only the rows of this part get numbers."""
    if not isinstance(generator, Draws):
        return torch.rand(rows, generator=generator)
    return torch.rand(generator.whole, generator=generator)[generator.part]


class Trainee(nn.Module, ABC):
    """A module that ``fit`` can train: it computes its own loss."""

    @abstractmethod
    def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The loss and other measured values on one batch, as a dict by name. Training minimises the value ``loss``."""

    def after_step(self, generator: torch.Generator) -> None:  # noqa: B027 - most have nothing to do
        """Called after the optimiser's step."""


Figures = dict[str, Tensor]


class Crew(ABC):
    """The process, or the processes, that compute gradients."""

    device = torch.device("cpu")  # where gradients are computed
    first = True  # whether this process writes and prints for all processes

    @property
    def save_every_s(self) -> float:
        """Seconds between saved states."""
        return SAVE_EVERY_S

    @abstractmethod
    def backward(self, trainee: Trainee, batch: Sequence[Tensor], seed: int) -> tuple[Figures, Draws]:
        """Compute the gradients of the mean loss over the whole batch, and leave them in the trainee's parameters.

        Returns the values that ``Trainee.loss`` gives, for the whole batch. Returns also the step's random generator,
        in the state after ``loss`` has drawn from it.
        """


class Alone(Crew):
    """This process, on the CPU, in bf16 by torch's autocast."""

    def backward(self, trainee: Trainee, batch: Sequence[Tensor], seed: int) -> tuple[Figures, Draws]:
        draws = Draws(seed, slice(None), len(batch[0]))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            figures = trainee.loss(batch, draws)
        figures["loss"].backward()
        return {name: value.detach() for name, value in figures.items()}, draws


def fit(
    trainee: Trainee, data: Sequence[Tensor], plan: Plan, folder: Path, crew: Crew | None = None
) -> list[dict[str, float]]:
    """Train on ``data`` and leave the averaged weights in ``trainee``. Returns the log.

    data: tensors of equal length. A batch consists of the same rows of each tensor. 16-bit integers are converted to
        64 bits before the trainee gets them.
    folder: holds ``state.pt`` (to resume) and ``log.jsonl`` (a line every 50 steps).

    Products of float32 are computed without TF32; with a GPU that has it, this matters where there is no autocast.

    Raises ArbenchError if the folder holds a run with another plan or cannot be written, or if the gradient is not
    finite.
    """
    loop = _Loop(trainee, data, plan, folder, crew or Alone())
    loop.resume()
    with arithmetic("off"):
        loop.run()
    return loop.log


class _Loop:
    def __init__(self, trainee: Trainee, data: Sequence[Tensor], plan: Plan, folder: Path, crew: Crew) -> None:
        self.trainee, self.data, self.plan, self.folder, self.crew = trainee.to(crew.device), data, plan, folder, crew
        self.per_epoch = len(data[0]) // plan.batch
        self.steps = plan.steps(len(data[0]))
        self.step = 0
        self.log: list[dict[str, float]] = []
        self.seconds = 0.0
        self.trained = {name: p for name, p in trainee.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.trained.items()}
        decayed = [p for p in self.trained.values() if p.ndim >= 2]
        plain = [p for p in self.trained.values() if p.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay)

    def resume(self) -> None:
        path = self.folder / "state.pt"
        if path.exists():
            self._restore(path)
        lines = "".join(json.dumps(line) + "\n" for line in self.log)  # drops what a killed run logged after saving
        if self.crew.first:
            files.write_text(self.folder / "log.jsonl", lines)

    def _restore(self, path: Path) -> None:
        state = torch.load(path, weights_only=True, map_location="cpu")
        if state["plan"] != json.dumps(asdict(self.plan)):
            raise ArbenchError(f"{path} belongs to a run with another plan ({state['plan']}): remove it, or restore it")
        self.trainee.load_state_dict(state["trainee"])
        self.average = {name: tensor.to(self.crew.device) for name, tensor in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.log, self.seconds = state["step"], state["log"], state["seconds"]
        torch.set_rng_state(state["random"])
        if self.crew.first:
            print(f"resumed at step {self.step} of {self.steps}", flush=True)

    def save(self) -> None:
        if not self.crew.first:
            return
        state = {
            "plan": json.dumps(asdict(self.plan)),
            "trainee": self.trainee.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "log": self.log,
            "seconds": self.seconds,
            "random": torch.get_rng_state(),
        }
        files.write(self.folder / "state.pt", lambda file: torch.save(state, file))

    def run(self) -> None:
        self.trainee.train()
        started = saved = time.monotonic()
        before = self.seconds
        while self.step < self.steps:
            figures = self._one()
            self.seconds = before + time.monotonic() - started
            if self.step % LOG_EVERY_STEPS == 0 or self.step == self.steps:
                self._note(figures)
            if time.monotonic() - saved > self.crew.save_every_s:
                self.save()
                saved = time.monotonic()
        self.save()
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(self.average[name])
        self.trainee.eval()

    def _one(self) -> Figures:
        rate = self.plan.rate(self.step, self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        figures, draws = self.crew.backward(self.trainee, self._batch(), self.plan.seed * 1_000_003 + self.step)
        norm = nn.utils.clip_grad_norm_(self.trained.values(), self.plan.clip)
        if not torch.isfinite(norm):
            raise ArbenchError(f"training diverged: the gradient at step {self.step} is {norm.item()}")
        self.optimiser.step()
        self.trainee.after_step(draws)
        self.step += 1
        decay = min(self.plan.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self.trained.values()], 1 - decay)
        return figures

    def _batch(self) -> list[Tensor]:
        epoch, place = divmod(self.step, self.per_epoch)
        if place == 0 or not hasattr(self, "order"):
            shuffle = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + 999_983 * (epoch + 1))
            self.order = torch.randperm(len(self.data[0]), generator=shuffle)
        chosen = self.order[place * self.plan.batch : (place + 1) * self.plan.batch]
        rows = (column[chosen] for column in self.data)
        return [column.long() if column.dtype == torch.int16 else column for column in rows]

    def _note(self, figures: Figures) -> None:
        line = {"step": self.step, "seconds": round(self.seconds, 1)}
        line |= {name: round(float(value), 5) for name, value in figures.items()}
        self.log.append(line)
        if not self.crew.first:
            return
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        left = (self.steps - self.step) * self.seconds / self.step
        shown = " ".join(f"{name} {float(value):.4f}" for name, value in figures.items())
        print(f"step {self.step}/{self.steps} {shown} | {self.seconds:.0f} s, {left:.0f} s left", flush=True)
