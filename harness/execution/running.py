"""A method's ``sample`` and ``decode`` at fixed knobs and sampling, run in one of the modes."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.errors import ArbenchError
from harness.execution.graphs import Captured, Recorder
from harness.execution.modes import COMPILE, GRAPH, OFF
from harness.execution.work import Decode, Sample, Work, compiled_work, work_of
from harness.method import Generated, KnobValue, Method
from harness.sampling import Sampling

CONTENT = "how much work there is depends on what is generated"


@dataclass(frozen=True)
class Running:
    """``sample`` and ``decode`` for batches of one size, and the mode in which they run."""

    sample: Sample  # labels [B] and noise [B, positions] -> tokens and steps
    decode: Decode  # tokens [B, positions] -> images
    capture: str  # off, graph or compile
    why: str | None = None  # why they do not run in the mode that was asked for; None if they do


def running(
    method: Method,
    knobs: Mapping[str, KnobValue],
    sampling: Sampling,
    batch: tuple[Tensor, Tensor],
    capture: str,
    record: Recorder | None = None,
) -> Running:
    """The method's functions in the mode ``capture`` (off, graph or compile). Captures them, if the mode says so.

    Work that depends on what is generated cannot be captured. It runs as it is, or compiled.

    batch: labels and noise of any batch; the functions take batches of this size
    record: how work is captured; None: in CUDA graphs
    """
    work = work_of(method, knobs, sampling)
    if capture == COMPILE:
        work = compiled_work(work)
    if not work.fixed:
        return Running(work.sample, work.decode, COMPILE if capture == COMPILE else OFF, _why(capture))
    if capture == GRAPH or (capture == COMPILE and batch[0].device.type == "cuda"):
        made = Captured(work, *batch, record)
        return Running(made.sample, made.decode, capture)
    return Running(_looped(work, *batch) if capture == COMPILE else work.sample, work.decode, capture)


def _why(capture: str) -> str | None:
    return f"not captured: {CONTENT}" if capture == GRAPH else None


def _looped(work: Work, labels: Tensor, noise: Tensor) -> Sample:
    """``sample`` by the loop, if there is one: a few compilations then serve all steps."""
    kept = labels.clone(), noise.clone()
    loop = work.loop(*kept)
    if loop is None:
        return work.sample

    @torch.inference_mode()  # around what is compiled: within it, torch.compile refuses to change what is kept
    def sample(labels: Tensor, noise: Tensor) -> Generated:
        for own, given in zip(kept, (labels, noise), strict=True):
            own.copy_(given)
        return loop.run()

    return sample


COMPILED_DIFFERENCE = 0.02
"""By how much decoded images, in [0, 1], may differ on average if the decoder is compiled. A compiler fuses operations,
which round differently then: in bf16 a pixel moves by a few thousandths. Images that have nothing to do with each other
differ by a tenth and more."""


def share_alike(one: Tensor, other: Tensor) -> float:
    """The share of images whose tokens are all the same. one, other: tokens [B, positions]."""
    return (one == other).all(dim=1).double().mean().item()


@torch.inference_mode()
def compared(made: Running, plain: Running, labels: Tensor, noise: Tensor) -> tuple[float, str | None]:
    """Compares what ``made`` and ``plain`` give for a batch, ``plain`` being the same functions as they are.

    A graph replays the kernels that run otherwise, so tokens and images must be the same, bit for bit. What is compiled
    computes by other kernels: tokens may differ, and images of the same tokens by COMPILED_DIFFERENCE on average.

    labels, noise: of another batch than the one that was captured. A captured value would otherwise be the right one.

    Returns the share of images whose tokens are all the same, and what is wrong, in words; None if nothing is.
    """
    tokens = plain.sample(labels, noise).tokens
    alike = share_alike(made.sample(labels, noise).tokens, tokens)
    difference = (made.decode(tokens).float() - plain.decode(tokens).float()).abs()
    if made.capture != COMPILE and alike < 1:
        return alike, f"{1 - alike:.0%} of the images of a batch have other tokens"
    if made.capture != COMPILE and not (difference == 0).all():  # NaN is a difference as well
        return alike, f"images of the same tokens differ by up to {difference.max():.2g}"
    if not difference.mean() <= COMPILED_DIFFERENCE:
        return alike, f"images of the same tokens differ by {difference.mean():.2g} on average"
    return alike, None


def refused(name: str, made: Running, wrong: str) -> ArbenchError:
    """The error for a method whose captured work gives something else. wrong: what ``compared`` says"""
    return ArbenchError(
        f"{name}: {wrong} in mode {made.capture!r} from mode {OFF!r}. Two ways out: captures() of the method returns "
        f'False, or capture = "off" in [timing]'
    )


def verified(made: Running, plain: Running, labels: Tensor, noise: Tensor, name: str) -> Running:
    """``made``, whose tokens and images of a batch are compared with those of ``plain`` (see ``compared``).

    Raises ArbenchError naming the method (``name``) if they differ.
    """
    _, wrong = compared(made, plain, labels, noise)
    if wrong:
        raise refused(name, made, wrong)
    return made
