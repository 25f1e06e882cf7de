"""Stage 2: how close a trial's images are to the reference. Needs features only, no image and no device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import ArbenchError
from harness.metrics import KID_SUBSET, Moments, frechet, inception_score, kid, precision_recall, too_small
from harness.reference import Reference, label_accuracy

METRIC_VERSION = 1
"""Part of every key: to be raised when a figure changes for the same features."""

Features = NDArray[np.floating[Any]]


def measure(
    features: Features,
    logits: Features,
    labels: NDArray[np.integer[Any]],
    reference: Reference,
    others: Sequence[tuple[Features, Reference]] = (),
) -> dict[str, Any]:
    """The ``quality`` part of a record: plain values.

    features [N, D], logits [N, classes]: float32 or float64, as ``reference``'s extractor gives them; labels: integers
    [N], the classes asked for; others: features of the same images by other extractors, for their FID beside.
    ``flags`` says in words what weakens a figure, such as too few images. ``label_accuracy`` is None where the
    extractor has other classes than the labels.

    Raises ArbenchError for fewer than 4 images, and for features that are not finite or not this extractor's.
    """
    if not len(features) == len(logits) == len(labels):
        raise ArbenchError(f"{len(features)} features, {len(logits)} logits, {len(labels)} labels: not one set")
    if len(features) < 4:
        raise ArbenchError(f"quality takes 4 images or more, there are {len(features)}")
    fid, flags = {}, []
    for seen, against in ((features, reference), *others):
        if len(seen) != len(features):
            raise ArbenchError(f"{len(seen)} rows of features ({against.extractor}) for {len(features)} images")
        gaussian = Moments.of(seen).gaussian()
        fid[against.extractor] = frechet(gaussian, against.gaussian)
        for side, one in (("samples", gaussian), ("reference", against.gaussian)):
            if fault := too_small(one):
                flags.append(f"FID ({against.extractor}): {side}: {fault}")
    subset = min(KID_SUBSET, len(features), len(reference.features))
    if subset < KID_SUBSET:
        flags.append(f"KID: subsets of {subset} images instead of {KID_SUBSET}: its spread is no guide")
    distance, spread = kid(features, reference.features, subset)
    precision, recall = precision_recall(features, reference.features, reference.radii)
    return {
        "fid": fid,
        "is": inception_score(logits),
        "kid": distance,
        "kid_std": spread,
        "precision": precision,
        "recall": recall,
        "label_accuracy": None if reference.label_accuracy is None else label_accuracy(logits, labels),
        "extractor": reference.extractor,
        "reference": reference.about(),
        "flags": flags,
        "version": METRIC_VERSION,
    }
