"""Training in several processes, on CPUs or GPUs, under Hugging Face accelerate: the loop of ``loop`` beside it, each
step's batch cut among the processes and, where it does not fit, into parts one after another.

``accelerate launch --num_processes 8 -m arbench train ...`` starts them. Gradients are averaged once a step. Any
number of processes and parts gives the same training but for rounding: random numbers belong to the rows of the batch
(``harness.training.loop.row_uniforms``).
"""

from collections.abc import Sequence

from accelerate import Accelerator
from torch import Tensor

from harness.errors import ArbenchError
from harness.training.loop import Crew, Draws, Figures, Trainee

MIXED = {"fp32": "no", "bf16": "bf16"}


class Processes(Crew):
    """The processes that accelerate launched, or this one alone. precision: of the arithmetic, by autocast; the weights
    and the optimiser stay in float32. parts: how many each process cuts its share of a batch into."""

    def __init__(self, precision: str, parts: int, save_every_s: float) -> None:
        self._accelerator = Accelerator(mixed_precision=MIXED[precision])
        self._parts, self._save_every_s = parts, save_every_s
        self.device, self.first = self._accelerator.device, self._accelerator.is_main_process

    @property
    def save_every_s(self) -> float:
        return self._save_every_s

    @property
    def count(self) -> int:
        """How many processes there are."""
        return self._accelerator.num_processes

    @property
    def index(self) -> int:
        """Which of them this one is, from 0."""
        return self._accelerator.process_index

    def wait(self) -> None:
        """Until all have come here."""
        self._accelerator.wait_for_everyone()

    def fits(self, batch: int) -> None:
        """ArbenchError if a batch cannot be cut into equal parts."""
        if batch % (self.count * self._parts):
            raise ArbenchError(
                f"a batch of {batch} cannot be cut evenly into {self._parts} parts in each of {self.count} processes"
            )

    def backward(self, trainee: Trainee, batch: Sequence[Tensor], seed: int) -> tuple[Figures, Draws]:
        whole, pieces = len(batch[0]), self.count * self._parts
        figures: Figures = {}
        for turn in range(self._parts):
            place = self.index * self._parts + turn
            rows = slice(place * whole // pieces, (place + 1) * whole // pieces)
            draws = Draws(seed, rows, whole)
            with self._accelerator.autocast():
                found = trainee.loss([column[rows].to(self.device) for column in batch], draws)
            (found["loss"] / self._parts).backward()
            for name, value in found.items():
                figures[name] = figures.get(name, 0) + value.detach() / self._parts
        if self.count > 1:
            for own in trainee.parameters():
                if own.grad is not None:
                    own.grad = self._mean(own.grad)
            figures = {name: self._mean(value) for name, value in figures.items()}
        return figures, draws

    def _mean(self, tensor: Tensor) -> Tensor:
        found: Tensor = self._accelerator.reduce(tensor, "mean")
        return found
