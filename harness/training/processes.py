"""Training in several processes, on CPUs or GPUs, with Hugging Face accelerate. The loop is ``harness.training.loop``.

``accelerate launch --num_processes 8 -m arbench train ...`` starts the processes. They divide each step's batch among
themselves. A process's share of the batch may be too large for the memory. The option ``--accumulate`` then cuts each
share into parts, and the process computes one part after another. Gradients are averaged once a step.

Neither the number of processes nor the number of parts changes the training, except by rounding. The reason is that
each row of the batch has its own random numbers (``harness.training.loop.row_uniforms``).
"""

from collections.abc import Sequence

from accelerate import Accelerator
from torch import Tensor

from harness.errors import ArbenchError
from harness.training.loop import Crew, Draws, Figures, Trainee

MIXED = {"fp32": "no", "bf16": "bf16"}


class Processes(Crew):
    """The processes that accelerate launched, or this process alone.

    precision: the precision of the arithmetic, set by autocast. The weights and the optimiser stay in float32.
    parts: number of parts into which each process cuts its share of a batch.
    """

    def __init__(self, precision: str, parts: int, save_every_s: float) -> None:
        self._accelerator = Accelerator(mixed_precision=MIXED[precision])
        self._parts, self._save_every_s = parts, save_every_s
        self.device, self.first = self._accelerator.device, self._accelerator.is_main_process

    @property
    def save_every_s(self) -> float:
        return self._save_every_s

    @property
    def count(self) -> int:
        """Number of processes."""
        return self._accelerator.num_processes

    @property
    def index(self) -> int:
        """Index of this process, from 0."""
        return self._accelerator.process_index

    def wait(self) -> None:
        """Wait until all processes have called this method."""
        self._accelerator.wait_for_everyone()

    def fits(self, batch: int) -> None:
        """Raises ArbenchError if a batch of this size cannot be cut into equal parts for all processes."""
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
