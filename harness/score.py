"""``arbench score``: the figures of images that a method outside the registry made, against a reference.

Inception features throughout. FID as everywhere here; sFID (Nash et al., arXiv 2103.03841) is the same distance on the
first 7 channels of a layer that still has places, as guided-diffusion's evaluator takes it; IS on one split over all
images; KID; precision and recall (3rd neighbour). No figure depends on the order of the images.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness import files
from harness.checkpoint import sha256
from harness.errors import ArbenchError
from harness.extractors_inception import InceptionExtractor
from harness.metrics import (
    KID_SUBSET,
    Gaussian,
    Moments,
    checked,
    frechet,
    inception_score,
    kid,
    precision_recall,
    too_small,
)
from harness.progress import Progress
from harness.samples import Samples, open_samples

SPATIAL_CHANNELS = 7
ROWS = 1000
"""Images whose spatial features are gathered before they join the moments: 8 MB."""


@dataclass(frozen=True)
class Seen:
    """A set of images as Inception sees it.

    about: where it came from, in plain values; gaussian, spatial: moments of features [N, 2048] and of the flattened
    places [N, 2023]; features: float32, None where a file keeps statistics alone; is_: its inception score.
    """

    about: Mapping[str, Any]
    gaussian: Gaussian
    spatial: Gaussian | None
    features: NDArray[np.float32] | None
    is_: float | None


def see(samples: Samples, extractor: InceptionExtractor, batch: int, advance: Callable[[int], None]) -> Seen:
    """All images through Inception, ``batch`` at a time; ``advance`` is told how many more are done.
    Raises ArbenchError where images are damaged, or are no more than one."""
    features, logits, rows = [], [], []
    moments: Moments | None = None
    content = hashlib.sha256()
    with _places(extractor) as places:
        for images in samples.batches(batch):
            content.update(images.numpy().data)
            found = extractor.features(images)
            features.append(found["features"].cpu().numpy())
            logits.append(found["logits"].cpu().numpy())
            rows.append(places.pop())
            if sum(map(len, rows)) >= ROWS:
                moments = _merged(moments, rows)
                rows = []
            advance(len(images))
    moments = _merged(moments, rows) if rows else moments
    assert moments is not None
    seen = np.concatenate(features)
    return Seen(
        about={"path": str(samples.path), "images": samples.count, "sha256": content.hexdigest()},
        gaussian=Moments.of(seen).gaussian(),
        spatial=moments.gaussian(),
        features=seen,
        is_=inception_score(np.concatenate(logits)),
    )


def watched(path: Path, extractor: InceptionExtractor, batch: int) -> Seen:
    """``see`` for a file or folder, with progress on the terminal."""
    samples = open_samples(path)
    progress = Progress(samples.count, "images")
    try:
        return see(samples, extractor, batch, lambda count: progress.advance(count, str(path.name)))
    finally:
        progress.close()


def _merged(moments: Moments | None, rows: list[NDArray[np.float32]]) -> Moments:
    more = Moments.of(np.concatenate(rows))
    return more if moments is None else moments.merge(more)


@contextmanager
def _places(extractor: InceptionExtractor) -> Iterator[list[NDArray[np.float32]]]:
    """While entered, a list to which every batch adds its spatial features [B, 17 * 17 * 7], in the order of stored
    statistics: row, column, channel. They are what the 1x1 branch of the block that TensorFlow calls mixed_6 gives."""
    found: list[NDArray[np.float32]] = []

    def keep(module: object, inputs: object, out: Tensor) -> None:
        found.append(out[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1).float().cpu().numpy())

    hook = extractor.network.network.Mixed_6d.branch1x1.register_forward_hook(keep)  # type: ignore[union-attr]
    try:
        yield found
    finally:
        hook.remove()


def reference(path: Path, extractor: InceptionExtractor, batch: int) -> Seen:
    """A reference from a folder or .npz of images, from guided-diffusion's .npz (whose stored ``mu``, ``sigma``,
    ``mu_s``, ``sigma_s`` are taken, and its images for KID, precision and recall), or from ``write_reference``'s file.

    Raises ArbenchError if it is none of these, or was made with another extractor.
    """
    if path.is_dir():
        return watched(path, extractor, batch)
    stored = _small_arrays(path)
    if "about" in stored:
        about = json.loads(str(stored["about"]))
        if about["weights"] != sha256(_weights(extractor)):
            raise ArbenchError(f"{path} was made with other Inception weights")
        return Seen(
            about={**about, "path": str(path)},
            gaussian=Gaussian.stored(stored["mu"], stored["sigma"], str(path), about["images"]),
            spatial=Gaussian.stored(stored["mu_s"], stored["sigma_s"], str(path), about["images"]),
            features=stored["features"],
            is_=about["is"],
        )
    images = watched(path, extractor, batch) if "images" in stored else None
    if "mu" not in stored:
        if images is None:
            raise ArbenchError(f"{path} holds neither images (arr_0) nor statistics (mu, sigma)")
        return images
    spatial = Gaussian.stored(stored["mu_s"], stored["sigma_s"], str(path)) if "mu_s" in stored else None
    return Seen(
        about={"path": str(path), "sha256": sha256(path), "statistics": "stored", **_count(images)},
        gaussian=Gaussian.stored(stored["mu"], stored["sigma"], str(path)),
        spatial=spatial,
        features=images.features if images else None,
        is_=images.is_ if images else None,
    )


def _count(images: Seen | None) -> dict[str, Any]:
    return {"images": images.about["images"]} if images else {}


def _small_arrays(path: Path) -> dict[str, Any]:
    """All arrays of an .npz but its images, of which ``images`` only says that they are there."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files if name != "arr_0"}
            return {**found, "images": True} if "arr_0" in file.files else found
    except Exception as error:  # a damaged zip raises any of half a dozen kinds
        raise ArbenchError(f"cannot read {path}: {error}") from error


def _weights(extractor: InceptionExtractor) -> Path:
    assert extractor.weights is not None
    return extractor.weights


def write_reference(path: Path, seen: Seen, extractor: InceptionExtractor) -> None:
    """Keep a reference: statistics under guided-diffusion's names, features, and where they came from."""
    assert seen.spatial is not None and seen.features is not None
    about = {**seen.about, "is": seen.is_, "weights": sha256(_weights(extractor))}
    arrays: dict[str, NDArray[Any]] = {
        "mu": seen.gaussian.mean,
        "sigma": seen.gaussian.covariance,
        "mu_s": seen.spatial.mean,
        "sigma_s": seen.spatial.covariance,
        "features": seen.features,
        "about": np.array(json.dumps(about)),
    }
    files.write_arrays(path, arrays)


def score(samples: Seen, against: Seen) -> dict[str, Any]:
    """All figures as plain values; None for those that the reference has no images for. ``flags`` says in words what
    weakens a figure."""
    assert samples.features is not None
    flags = []
    for side, seen in (("samples", samples), ("reference", against)):
        if fault := too_small(seen.gaussian):
            flags.append(f"FID: {side}: {fault}")
    found: dict[str, Any] = {"fid": frechet(samples.gaussian, against.gaussian), "sfid": None}
    if samples.spatial is not None and against.spatial is not None:
        found["sfid"] = frechet(samples.spatial, against.spatial)
    found |= {"is": samples.is_, "kid": None, "kid_std": None, "precision": None, "recall": None}
    if against.features is None:
        flags.append("the reference holds statistics alone: no KID, no precision, no recall")
    else:
        ours, theirs = checked(samples.features, "samples"), checked(against.features, "reference")
        subset = min(KID_SUBSET, len(ours), len(theirs))
        if subset < KID_SUBSET:
            flags.append(f"KID: subsets of {subset} images instead of {KID_SUBSET}: its spread is no guide")
        found["kid"], found["kid_std"] = kid(ours, theirs, subset)
        found["precision"], found["recall"] = precision_recall(ours, theirs)
    return {**found, "samples": dict(samples.about), "reference": dict(against.about), "flags": flags}


def in_words(found: Mapping[str, Any]) -> str:
    """The same for a terminal."""
    names = {"fid": "FID", "sfid": "sFID", "is": "IS", "kid": "KID", "precision": "precision", "recall": "recall"}
    lines = [
        f"{found['samples']['images']} images of {found['samples']['path']} against {found['reference']['path']}",
        *(f"{name:<10}{'-' if found[key] is None else format(found[key], '.5g'):>10}" for key, name in names.items()),
        *(f"note: {flag}" for flag in found["flags"]),
    ]
    return "\n".join(lines)
