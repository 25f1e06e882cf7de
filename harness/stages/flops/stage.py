"""The stage flops: MACs and FLOPs per image, by part of the network, and the bytes that each step reads. All are
counted from the operators that really ran."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from statistics import fmean, pstdev
from typing import Any

from harness.errors import ArbenchError
from harness.method import KnobValue, Method
from harness.sampling import Sampling
from harness.stages.flops.counter import CONVENTION, COUNTER, Count, closed_form, count_image
from harness.stages.flops.reads import READ

IMAGES = 8
"""Number of images that are counted if the MACs differ from image to image."""
FIXED = 2
"""Number of images that are counted if the MACs are the same for every image. The second image checks the first."""


def count(
    method: Method,
    knobs: Mapping[str, KnobValue],
    sampling: Sampling,
    seed: int,
    policy: str = "balanced",
    images: int = IMAGES,
) -> dict[str, Any]:
    """The ``flops`` part of a record, from the first images of the trial. Every image is sampled in a batch of its own.
    In a larger batch, the cost of an image could include steps that only other images take.

    If the method has a closed form and the first two images cost the same, all images cost the same. In this case, only
    the first two images are counted.

    knobs: a value for every knob.
    policy: the trial's ``Setup.labels``.
    images: number of images that are counted in all other cases.

    Keys, all per image:

    - ``macs``, ``flops`` (2 x MACs): sampling and decoding together
    - ``tokens_macs``, ``decoder_macs``: sampling alone, decoding alone
    - ``macs_std``: population standard deviation of ``macs`` over the images; 0 if all images cost the same
    - ``by_part``: MACs by part; their sum is ``macs``
    - ``by_step``: MACs of each network evaluation (step); their sum is ``tokens_macs``. Each value is the mean over all
      images; an image that does not take the step counts as 0
    - ``bytes``: what has to be read from memory (see harness.stages.flops.reads), with the keys

        - ``weights``: bytes of weights that each step reads, whatever the batch
        - ``cache``: bytes of keys and values of earlier steps that each step reads, for each image of a batch
        - ``decoder``: bytes of weights that the decoder reads, whatever the batch
        - ``convention``: what is counted, in words

      ``weights`` and ``cache`` are means as in ``by_step``
    - ``data_dependent``: whether the MACs differ from image to image
    - ``images_counted``: number of images that were counted
    - ``counter``, ``convention``: how the multiply-adds were counted, in words

    Raises ArbenchError if an operator has no counting rule, or belongs to no part.
    """
    if images < 1:
        raise ArbenchError(f"FLOPs: images = {images} is out of range (valid: 1 or more)")
    fixed = closed_form(method, knobs, sampling) is not None
    runs = [count_image(method, knobs, sampling, seed, index, policy) for index in range(min(images, FIXED))]
    if not fixed or len({_macs(run) for run in runs}) > 1:
        runs += [count_image(method, knobs, sampling, seed, index, policy) for index in range(len(runs), images)]
    macs = [float(_macs(run)) for run in runs]
    by_part: Counter[str] = Counter()
    for sampled, decoded in runs:
        by_part += sampled.by_part + decoded.by_part
    return {
        "macs": fmean(macs),
        "flops": 2 * fmean(macs),
        "macs_std": pstdev(macs),
        "by_part": {part: total / len(runs) for part, total in sorted(by_part.items())},
        "by_step": _by_step([sampled.by_step for sampled, _ in runs]),
        "bytes": bytes_read(runs),
        "tokens_macs": fmean(sampled.macs for sampled, _ in runs),
        "decoder_macs": fmean(decoded.macs for _, decoded in runs),
        "data_dependent": not fixed or len(set(macs)) > 1,
        "images_counted": len(runs),
        "counter": COUNTER,
        "convention": CONVENTION,
    }


def bytes_read(runs: Sequence[tuple[Count, Count]]) -> dict[str, Any]:
    """What has to be read from memory, mean over images, with the keys of ``bytes`` (see ``count``).

    runs: for each image, the counts of sampling and of decoding.
    """
    return {
        "weights": _by_step([sampled.weights_by_step for sampled, _ in runs]),
        "cache": _by_step([sampled.cache_by_step for sampled, _ in runs]),
        "decoder": fmean(sum(decoded.weights_by_step) for _, decoded in runs),
        "convention": READ,
    }


def _by_step(runs: Sequence[Sequence[int]]) -> list[float]:
    """Mean of each step over the images. A step counts 0 for an image that does not take it."""
    return [sum(step) / len(runs) for step in zip_longest(*runs, fillvalue=0)]


def _macs(run: tuple[Count, Count]) -> int:
    return run[0].macs + run[1].macs
