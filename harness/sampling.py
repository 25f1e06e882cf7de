"""Sampling settings, and how a token is drawn from logits: guidance, temperature, top-k, top-p, inverse CDF."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.errors import ArbenchError, unknown

CFG_SCHEDULES = ("constant", "ramp")


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn from logits.

    ``cfg`` is s in u + s (c - u), where c and u are the logits with and without the class; 1 is no guidance, and then
    only one branch is computed. VAR writes (1 + t) c - t u: its "cfg 1.5" is ``cfg=2.5`` here. ``cfg_schedule`` is
    ``constant``, or ``ramp``: s grows linearly from 1 at the first step to ``cfg`` at the last (VAR).
    ``top_k`` 0 and ``top_p`` 1 are off.
    """

    cfg: float = 1.0
    cfg_schedule: str = "constant"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.cfg_schedule not in CFG_SCHEDULES:
            raise unknown("cfg_schedule", self.cfg_schedule, CFG_SCHEDULES)
        for name, ok, valid in (
            ("cfg", 0 <= self.cfg <= 100, "0 to 100"),
            ("temperature", 0 < self.temperature <= 100, "above 0, up to 100"),
            ("top_k", self.top_k >= 0, "0 (off) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0, up to 1 (off)"),
        ):
            if not ok:
                raise ArbenchError(f"sampling: {name} = {getattr(self, name)} is out of range (valid: {valid})")

    @property
    def guided(self) -> bool:
        """Whether the branch without the class is computed as well."""
        return self.cfg != 1.0

    def scale(self, step: int, steps: int) -> float:
        """The guidance scale s at a step (0-based) out of ``steps``."""
        if self.cfg_schedule == "ramp":
            return 1.0 + (self.cfg - 1.0) * (step / max(steps - 1, 1))
        return self.cfg


SAMPLING_FIELDS = tuple(field.name for field in fields(Sampling))


def guide(logits: Tensor, sampling: Sampling, step: int, steps: int) -> Tensor:
    """Guided logits, float32. ``logits`` holds the class branch in its first half of rows and the unconditional branch
    in its second if ``sampling.guided``, else the class branch alone."""
    logits = logits.float()
    if not sampling.guided:
        return logits
    cond, uncond = logits.chunk(2)
    return uncond + sampling.scale(step, steps) * (cond - uncond)


def draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """Draw one token a row by inverse CDF.

    logits: [..., V]; uniform: [...] in [0, 1). Returns int64 [...]. The sum runs in float64, so that a draw moves with
    the last bits of a logit as seldom as can be.
    """
    logits = logits.float()
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    size = logits.shape[-1]
    if 0 < sampling.top_k < size:
        kth = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    if sampling.top_p < 1:
        ordered, index = logits.sort(dim=-1, descending=True)
        mass = ordered.double().softmax(-1)
        drop = mass.cumsum(-1) - mass >= sampling.top_p
        logits = logits.masked_fill(drop.scatter(-1, index, drop), -torch.inf)
    return _locate((logits - logits.amax(-1, keepdim=True)).exp_(), uniform)


BLOCK = 16


def _locate(weights: Tensor, uniform: Tensor) -> Tensor:
    """The first entry at which the running sum of ``weights`` [..., V] exceeds uniform [...] times the whole: first the
    block of 16, then the entry in it, since a running sum over all entries costs torch more than a layer of the
    network."""
    size = weights.shape[-1]
    blocks = F.pad(weights, (0, -size % BLOCK)).unflatten(-1, (-1, BLOCK))
    ends = blocks.sum(-1).cumsum(-1, dtype=torch.float64)
    target = uniform.double()[..., None] * ends[..., -1:]
    block = torch.searchsorted(ends, target, right=True).clamp_(max=ends.shape[-1] - 1)
    start = ends.gather(-1, (block - 1).clamp(min=0)).masked_fill(block == 0, 0.0)
    share = (target - start) / (ends.gather(-1, block) - start)
    inside = blocks.take_along_dim(block[..., None], -2)[..., 0, :].cumsum(-1, dtype=torch.float64)
    place = torch.searchsorted(inside, share * inside[..., -1:], right=True).clamp_(max=BLOCK - 1)
    return (BLOCK * block + place)[..., 0].clamp_(max=size - 1)
