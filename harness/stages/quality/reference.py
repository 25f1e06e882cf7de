"""The reference that samples are compared with: its features, statistics and own scores, cached by content.

The name of a cache file is a hash of all that its figures depend on: the images and labels themselves (not their path),
the extractor's weights as they are in memory, the uint8 rule, the resize, and the version of the metrics. The hash
cannot cover the extractor's code. A probe does: before a cached file is used, a few images go through the extractor.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness import files
from harness.errors import ArbenchError
from harness.extractors.base import Extractor
from harness.hashing import digest
from harness.images.datasets import Images
from harness.stages.quality.distributions import Gaussian, Moments, inception_score
from harness.stages.quality.features import checked
from harness.stages.quality.pairs import FAR, NEAR, Within

VERSION = 2
"""Raised when a reference's figures change for the same images and extractor."""
UINT8_RULE = "round(255 x), clamped"
"""How images in [0, 1] become uint8 (harness.setup.to_uint8)."""
_BATCH = 100
_PROBE = 16
_PROBE_TOLERANCE = 1e-3  # share of the features' standard deviation: rounding gives far less, another network far more


@dataclass(frozen=True)
class Reference:
    """The features, statistics and own scores of a reference set, for one extractor."""

    key: str  # sha256 of all that the reference depends on
    facts: Mapping[str, Any]  # all that the reference depends on, in words, for records
    within: Within  # features float32 [N, D], compared among themselves; empty if a file gave statistics alone
    logits: NDArray[np.float32]  # [N, classes]
    gaussian: Gaussian  # of the features
    spatial: Gaussian | None  # of the features that keep spatial positions, if the extractor has them
    is_: float | None  # inception score of the reference images; None if a file gave statistics alone
    # Share of the reference images that the extractor puts in their labelled class; None if the labels' classes are not
    # the extractor's.
    label_accuracy: float | None

    @property
    def extractor(self) -> str:
        """The extractor's name."""
        return str(self.facts["extractor"])

    @property
    def features(self) -> NDArray[Any]:
        """The features of the reference images, float32 [N, D]."""
        return self.within.features

    def about(self) -> dict[str, Any]:
        """The ``reference`` part of a record's quality: plain values."""
        return {"key": self.key, **self.facts, "is": self.is_, "label_accuracy": self.label_accuracy}


def reference_for(images: Images, extractor: Extractor, folder: Path, uint8_rule: str = UINT8_RULE) -> Reference:
    """The reference of ``images`` for ``extractor``: read from ``folder`` if a valid file is there, else computed.

    A computed reference is written to ``folder``, completely or not at all; the folder is made if need be. A damaged
    file is replaced. Raises ArbenchError if the images are not uint8 [N, C, H, W] with a label each, or if the folder
    cannot be written.
    """
    facts = _facts(images, extractor, uint8_rule)
    key = digest(facts)
    path = folder / f"reference-{extractor.name}-{key[:16]}.npz"
    found = cached(path)
    if found is None or not _fits(found, key, images, extractor):
        found = _computed(key, facts, images, extractor)
        keep(path, found)
    return found


def label_accuracy(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Share of rows whose largest logit is at the row's label. Raises ArbenchError if there is not a label a row."""
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
    }


def _tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of named tensors: names, types, shapes, values."""
    whole = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def _computed(key: str, facts: Mapping[str, Any], images: Images, extractor: Extractor) -> Reference:
    seen = [extractor.features(batch) for batch in images.images.split(_BATCH)]
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


def keep(path: Path, reference: Reference) -> None:
    """Writes a reference to a cache file, which ``cached`` reads."""
    about = {
        "key": reference.key,
        "facts": dict(reference.facts),
        "is": reference.is_,
        "label_accuracy": reference.label_accuracy,
    }
    arrays: dict[str, NDArray[Any]] = {
        "features": reference.features,
        "logits": reference.logits,
        "mean": reference.gaussian.mean,
        "covariance": reference.gaussian.covariance,
        "radii": reference.within.radii,
        "kernel": reference.within.kernel,
        "about": np.array(json.dumps(about)),
    }
    if reference.spatial is not None:
        arrays |= {"spatial mean": reference.spatial.mean, "spatial covariance": reference.spatial.covariance}
    files.write_arrays(path, arrays)


def cached(path: Path) -> Reference | None:
    """The reference in a cache file; None if the file is missing or damaged."""
    try:
        arrays = files.read_arrays(path)
        about = json.loads(str(arrays["about"]))
        stored = {
            name: Gaussian.stored(
                arrays[f"{name}mean"], arrays[f"{name}covariance"], str(path), about["facts"]["images"]
            )
            for name in ("", "spatial ")
            if f"{name}mean" in arrays
        }
        return Reference(
            key=about["key"],
            facts=about["facts"],
            within=Within(arrays["features"], arrays["radii"], arrays["kernel"]),
            logits=arrays["logits"],
            gaussian=stored[""],
            spatial=stored.get("spatial "),
            is_=about["is"],
            label_accuracy=about["label_accuracy"],
        )
    except (ArbenchError, KeyError, ValueError):
        return None


def _fits(reference: Reference, key: str, images: Images, extractor: Extractor) -> bool:
    """Whether a cached reference may be used: it has this key and is complete, and for a few images spread over the set
    the extractor still gives the features and logits that are in the cache."""
    count = len(images.images)
    if reference.key != key:
        return False
    if not len(reference.features) == len(reference.logits) == count:
        return False
    places = np.linspace(0, count - 1, min(_PROBE, count)).astype(np.int64)
    seen = extractor.features(images.images[torch.from_numpy(places)])
    for name, kept in (("features", reference.features), ("logits", reference.logits)):
        now = seen[name].cpu().numpy()
        if now.shape[1:] != kept.shape[1:]:
            return False
        if not np.abs(now - kept[places]).max() <= _PROBE_TOLERANCE * kept.std():
            return False
    return True
