"""Sampling settings, and how a token is drawn from logits: guidance, temperature, top-k, top-p, inverse CDF."""

from dataclasses import dataclass, fields
from math import cos, pi

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.errors import ArbenchError, unknown

CFG_SCHEDULES = ("constant", "ramp", "linear", "power-cosine")


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn from logits.

    Guided logits are u + s (c - u), where c and u are the logits with and without the class, and s is the guidance
    scale. VAR writes (1 + t) c - t u: its "cfg 1.5" is ``cfg=2.5`` here. ``cfg_schedule`` says how s goes from 1 to
    ``cfg`` over the steps i = 0 .. n-1, as s = 1 + r (cfg - 1):

    - ``constant``: s = cfg at every step.
    - ``ramp``: r = i / (n - 1), from no guidance at the first step to cfg at the last (VAR).
    - ``linear``: r = (i + 1) / n, guided from the first step on. Here r is a share of the steps. In MUSE and MAR, r is
      a share of the tokens.
    - ``power-cosine``: r = (1 - cos(pi (i / n)^cfg_power)) / 2, which approaches 1 but does not reach it (MDT, RAR).
    """

    cfg: float = 1.0  # guidance scale; 1 is no guidance, and then only one branch is computed
    cfg_schedule: str = "constant"  # one of CFG_SCHEDULES
    temperature: float = 1.0
    top_k: int = 0  # 0 is off
    top_p: float = 1.0  # 1 is off
    cfg_power: float = 1.0  # only for the schedule ``power-cosine``

    def __post_init__(self) -> None:
        if self.cfg_schedule not in CFG_SCHEDULES:
            raise unknown("cfg_schedule", self.cfg_schedule, CFG_SCHEDULES)
        for name, ok, valid in (
            ("cfg", 0 <= self.cfg <= 100, "0 to 100"),
            ("temperature", 0 < self.temperature <= 100, "above 0, up to 100"),
            ("top_k", 0 <= self.top_k <= 10**9, "0 (off) to 10^9"),
            ("top_p", 0 < self.top_p <= 1, "above 0, up to 1 (off)"),
            ("cfg_power", 0 < self.cfg_power <= 100, "above 0, up to 100"),
        ):
            if not ok:
                raise ArbenchError(f"sampling: {name} = {getattr(self, name)} is out of range (valid: {valid})")
        if self.cfg_power != 1 and self.cfg_schedule != "power-cosine":
            raise ArbenchError(
                f"sampling: cfg_power = {self.cfg_power} does nothing with cfg_schedule = "
                f"{self.cfg_schedule} (it belongs to power-cosine)"
            )

    @property
    def guided(self) -> bool:
        """Whether the branch without the class is computed as well."""
        return self.cfg != 1.0

    def scale(self, step: int, steps: int) -> float:
        """The guidance scale s at a step (0-based) out of ``steps``."""
        match self.cfg_schedule:
            case "ramp":
                share = step / max(steps - 1, 1)
            case "linear":
                share = (step + 1) / steps
            case "power-cosine":
                share = (1 - cos(pi * (step / steps) ** self.cfg_power)) / 2
            case _:
                return self.cfg
        return 1.0 + (self.cfg - 1.0) * share


SAMPLING_FIELDS = tuple(field.name for field in fields(Sampling))


def guide(logits: Tensor, sampling: Sampling, step: int, steps: int) -> Tensor:
    """Guided logits, float32.

    logits: if ``sampling.guided``, the first half of the rows is the class branch, the second half the unconditional
    branch; otherwise all rows are the class branch.
    """
    return guide_by(logits, sampling.scale(step, steps)) if sampling.guided else logits.float()


def guide_by(logits: Tensor, scale: float | Tensor) -> Tensor:
    """Guided logits, float32, for a given guidance scale. scale: a number, or a tensor of one value on the device.

    logits: the first half of the rows is the class branch, the second half the unconditional branch.
    """
    cond, uncond = logits.float().chunk(2)
    return torch.lerp(uncond, cond, scale)


def draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """Draw one token per row by inverse CDF. Returns int64 [...].

    logits: [..., V].
    uniform: [...] in [0, 1).

    The running sum of the probabilities is computed in float64, so that the last bits of a logit change a draw as
    rarely as possible.
    """
    logits = logits.float()
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()
    few = min(sampling.top_k or logits.shape[-1], logits.shape[-1])
    if sampling.top_p < 1:
        weights = weights.masked_fill_(~_nucleus(logits, few, sampling.top_p), 0.0)
    elif few < logits.shape[-1]:
        weights = weights.masked_fill_(logits < _largest(logits, few)[..., :1], 0.0)
    return _locate(weights, uniform)


def _nucleus(logits: Tensor, few: int, top_p: float) -> Tensor:
    """Which tokens top-k and then top-p keep: bool [..., V].

    logits: float32 [..., V]; few: the k of top-k, at most V. Logits that equal the k-th largest are all kept by top-k.
    Top-p keeps the tokens before which the mass of the larger logits is below ``top_p``. Of equal logits, those that
    come first are kept.

    Only the k largest values are sorted, without their places: the smallest logit that is kept is a bound, and logits
    that equal the bound are counted. The host waits for no value.
    """
    ordered = _largest(logits, few).flip(-1).double()
    kth = ordered[..., -1:].float()
    weights = (ordered - ordered[..., :1]).exp_()
    # Logits that equal the k-th largest, but are not among the k, stand behind it in the order.
    equal = _running(logits == kth)[..., -1:] - (ordered == kth).sum(-1, keepdim=True)
    mass = weights / (weights.sum(-1, keepdim=True) + equal * weights[..., -1:])
    ends = mass.cumsum(-1)
    kept = (ends - mass < top_p).sum(-1, keepdim=True)
    room = ((top_p - ends[..., -1:]) / mass[..., -1:].clamp(min=torch.finfo(torch.float64).tiny)).ceil()
    kept = kept + torch.where(kept == few, room.clamp(min=0).minimum(equal).long(), 0)
    bound = ordered.gather(-1, kept.clamp(max=few) - 1)
    above = (ordered > bound).sum(-1, keepdim=True)
    bound = bound.float()
    at_bound = logits == bound
    return (logits > bound) | (at_bound & (_running(at_bound) <= kept - above))


def _largest(logits: Tensor, few: int) -> Tensor:
    """The largest values of each row [..., few], in ascending order."""
    if logits.device.type == "cpu" and not torch.compiler.is_compiling():
        values = logits.detach().numpy()  # NumPy sorts 20 times as fast as torch on a CPU, since it sorts values alone
        size = values.shape[-1]
        if few < size:
            values = np.partition(values, size - few, axis=-1)[..., size - few :]
        return torch.from_numpy(np.sort(values, axis=-1))
    return logits.topk(few, dim=-1).values.flip(-1)


def _running(flags: Tensor) -> Tensor:
    """The running count of true values, along the last dimension."""
    return flags.cumsum(-1, dtype=torch.int16 if flags.shape[-1] < 2**15 else torch.int32)


BLOCK = 16


def _locate(weights: Tensor, uniform: Tensor) -> Tensor:
    """Index of the first entry at which the running sum of ``weights`` [..., V] exceeds a target. The target is
    ``uniform`` [...] times the sum of all weights.

    The entries are divided into blocks of 16. We first find the block that contains the entry, and then the entry in
    this block. In torch, a running sum over all entries costs more than a layer of the network.
    """
    size = weights.shape[-1]
    whole = F.pad(weights, (0, -size % BLOCK)) if size % BLOCK else weights  # padding by 0 would copy the weights
    blocks = whole.unflatten(-1, (-1, BLOCK))
    ends = blocks.sum(-1).cumsum(-1, dtype=torch.float64)
    target = uniform.double()[..., None] * ends[..., -1:]
    block = torch.searchsorted(ends, target, right=True).clamp_(max=ends.shape[-1] - 1)
    start = ends.gather(-1, (block - 1).clamp(min=0)).masked_fill(block == 0, 0.0)
    share = (target - start) / (ends.gather(-1, block) - start)
    inside = blocks.take_along_dim(block[..., None], -2)[..., 0, :].cumsum(-1, dtype=torch.float64)
    place = torch.searchsorted(inside, share * inside[..., -1:], right=True).clamp_(max=BLOCK - 1)
    return (BLOCK * block + place)[..., 0].clamp_(max=size - 1)
