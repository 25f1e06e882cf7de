"""The reference of a data set that ships with arbench: features, statistics, and the scores of the data set itself.
References are cached by content.

The name of a cache file contains a hash of everything on which the reference depends: the images and labels themselves
(not their path), the extractor's weights as they are in memory, its use of TF32, the resize, the version of the
metrics, and the rule by which images in [0, 1] become uint8. The hash cannot cover the extractor's code. Therefore a
few images go through the extractor before a cached file is used. Their features and logits must agree with those in the
file.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ArbenchError
from harness.extractors.base import Extractor
from harness.images.datasets import Images
from harness.stages.quality.distributions import Moments, inception_score
from harness.stages.quality.features import checked
from harness.stages.quality.pairs import FAR, NEAR, Within
from harness.stages.quality.reference import VERSION, Reference, cached, stated, write

UINT8_RULE = "round(255 x), clamped"
"""How images in [0, 1] become uint8 (harness.setup.to_uint8)."""
_BATCH = 100
_PROBE = 16
_PROBE_TOLERANCE = 1e-3  # share of the features' standard deviation: rounding gives far less, another network far more


def reference_for(images: Images, extractor: Extractor, folder: Path, uint8_rule: str = UINT8_RULE) -> Reference:
    """The reference of ``images`` for ``extractor``: read from ``folder`` if a valid file is there, else computed.

    A computed reference is written to ``folder``, completely or not at all; the folder is made if need be. A damaged
    file is replaced. Raises ArbenchError if the images are not uint8 [N, C, H, W] with a label each, or if the folder
    cannot be written.
    """
    facts = _facts(images, extractor, uint8_rule)
    key, path, found = cached(facts, extractor, folder)
    if found is None or not _fits(found, images, extractor):
        found = _computed(key, facts, images, extractor)
        write(path, found)
    return found


def label_accuracy(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Share of rows whose largest logit is at the row's label. Raises ArbenchError unless each row has a label."""
    if labels.shape != logits.shape[:1]:
        raise ArbenchError(f"labels: shape {labels.shape} for {len(logits)} images")
    return float((logits.argmax(axis=1) == labels).mean())


def _facts(images: Images, extractor: Extractor, uint8_rule: str) -> dict[str, Any]:
    pictures, labels = images.images, images.labels
    if pictures.dtype != torch.uint8 or pictures.dim() != 4:
        raise ArbenchError(f"reference: {pictures.dtype} {tuple(pictures.shape)} (valid: uint8 [N, C, H, W])")
    if labels.shape != pictures.shape[:1]:
        raise ArbenchError(f"reference: labels of shape {tuple(labels.shape)} for {len(pictures)} images")
    return {
        "version": VERSION,
        "images": len(pictures),
        "data": images.sha256,
        "content": _tensors_sha256({"images": pictures, "labels": labels}),
        "extractor": extractor.name,
        "network": extractor.architecture,
        "weights": _tensors_sha256(extractor.network.state_dict()),
        "resize": extractor.resize,
        "classifies": extractor.classifies,
        "uint8": uint8_rule,
        "neighbours": [NEAR, FAR],
        **stated(extractor),
    }


def _tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of named tensors: names, types, shapes, values."""
    whole = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def _computed(key: str, facts: Mapping[str, Any], images: Images, extractor: Extractor) -> Reference:
    seen = [extractor.see(batch) for batch in images.images.split(_BATCH)]
    whole = {name: torch.cat([part[name] for part in seen]).cpu().numpy().astype(np.float32) for name in seen[0]}
    features, logits = checked(whole["features"], f"reference features ({extractor.name})"), whole["logits"]
    return Reference(
        key=key,
        facts=facts,
        within=Within.of(features, "reference"),
        logits=logits,
        gaussian=Moments.of(features).gaussian(),
        spatial=Moments.of(whole["spatial"]).gaussian() if "spatial" in whole else None,
        is_=inception_score(logits),
        label_accuracy=label_accuracy(logits, images.labels.numpy()) if extractor.classifies else None,
    )


def _fits(reference: Reference, images: Images, extractor: Extractor) -> bool:
    """Whether a cached reference may be used. It must be complete, and the extractor must still give the features and
    logits in the cache. This is tested on a few images, spread over the set."""
    count = len(images.images)
    if reference.within is None or reference.logits is None:
        return False
    if not len(reference.within.features) == len(reference.logits) == count:
        return False
    places = np.linspace(0, count - 1, min(_PROBE, count)).astype(np.int64)
    seen = extractor.see(images.images[torch.from_numpy(places)])
    for name, before in (("features", reference.within.features), ("logits", reference.logits)):
        now = seen[name].cpu().numpy()
        if now.shape[1:] != before.shape[1:]:
            return False
        if not np.abs(now - before[places]).max() <= _PROBE_TOLERANCE * before.std():
            return False
    return True
