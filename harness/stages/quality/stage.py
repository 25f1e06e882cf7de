"""The stage quality: how close a trial's images are to the reference. The stage needs only what extractors have
computed from the images. It needs neither the images themselves nor a GPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import ArbenchError
from harness.stages import VERSIONS
from harness.stages.quality.fidelity import STATISTICS_ALONE, Fidelity
from harness.stages.quality.pairs import FAR
from harness.stages.quality.reference import Reference
from harness.stages.quality.resampling import Resampling

Seen = Mapping[str, NDArray[np.floating[Any]]]
"""The arrays that an extractor computes from a trial's images, float32 or float64: ``features`` [N, D], ``logits``
[N, classes], and ``spatial`` [N, S] if the extractor has it."""


@dataclass(frozen=True)
class Measured:
    """The metrics of a trial's images (FID and others), and the bootstrap replicates of these metrics."""

    figures: dict[str, Any]  # the ``quality`` part of a record
    replicates: dict[str, NDArray[np.float32]]  # [REPLICATES] each, by the metric's dotted name


def measure(
    seen: Seen,
    labels: NDArray[np.integer[Any]],
    reference: Reference,
    others: Sequence[tuple[Seen, Reference]] = (),
    drawn: bool = False,
) -> Measured:
    """The metrics of a trial's images (FID and others), as plain values, and the bootstrap replicates of these metrics.

    labels: integers [N], the classes asked for.
    others: for each other extractor, a pair: what the extractor has computed from the same images, and the reference
        for this extractor. Each pair gives one more value of FID, FID-infinity and sFID.
    drawn: whether the class of each image was drawn at random (``random`` labels). If so, the number of images of a
        class varies between the draws of the bootstrap, and the intervals cover this variation, too. If not, every
        draw has the classes in the proportions of ``labels``.

    Some keys of ``figures`` need explanation:

    - ``fid``, ``fid_infinity``, ``sfid``: one value for each extractor
    - ``intervals``: a dict from the name of a metric to its 95 % interval. The interval covers the values that other
      images of this method would have given; the reference images are taken as fixed
    - ``flags``: texts that say what makes a metric less reliable, such as too few images
    - ``label_accuracy``: None where the extractor has other classes than the labels

    Raises ArbenchError for fewer than 6 images, and for features that are not finite or that do not have the dimensions
    of the reference.
    """
    if any(len(rows) != len(labels) for rows in seen.values()):
        counts = ", ".join(f"{len(rows)} {name}" for name, rows in seen.items())
        raise ArbenchError(f"{counts}, {len(labels)} labels: not one set")
    if len(labels) <= FAR:
        raise ArbenchError(f"quality takes {FAR + 1} images or more, there are {len(labels)}")
    found = Fidelity(Resampling(np.zeros_like(labels) if drawn else labels))
    for one, against in ((seen, reference), *others):
        if len(one["features"]) != len(labels):
            raise ArbenchError(
                f"{len(one['features'])} rows of features ({against.extractor}) for {len(labels)} images"
            )
        found.frechet(against.extractor, one["features"], against.gaussian)
        if against.spatial is not None:
            found.spatial_frechet(against.extractor, one["spatial"], against.spatial)
    found.inception_score(seen["logits"])
    if reference.within is not None:
        found.pairs(seen["features"], reference.within)
    else:
        found.flags.append(STATISTICS_ALONE)
    if reference.label_accuracy is not None:
        right = seen["logits"].argmax(axis=1) == labels
        found.add("label_accuracy", float(right.mean()), found.draws.means(right))
    figures = {
        "label_accuracy": None,
        **found.figures(),
        "extractor": reference.extractor,
        "reference": reference.about(),
        "version": VERSIONS["quality"],
    }
    return Measured(figures, {name: values.astype(np.float32) for name, values in found.replicates.items()})
