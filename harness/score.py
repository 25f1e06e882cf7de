"""``arbench score``: the figures of images that a method outside the registry made, against a reference.

Inception features throughout, figures and intervals as everywhere here. No figure depends on the order of the images.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import files
from harness.checkpoint import sha256
from harness.errors import ArbenchError
from harness.extractors import INCEPTION
from harness.extractors_inception import FEATURES, SPATIAL, InceptionExtractor
from harness.fidelity import STATISTICS_ALONE, Fidelity, Narrate
from harness.metrics import Gaussian, Moments, inception_score, same_width, silent
from harness.pairs import Within
from harness.progress import Progress
from harness.resampling import Resampling
from harness.samples import Samples, open_samples
from harness.store import flat


@dataclass(frozen=True)
class Seen:
    """A set of images as Inception sees it.

    about: where it came from, in plain values; gaussian, spatial: moments of features [N, 2048] and of the flattened
    places [N, 2023]; arrays: ``features``, ``logits`` and ``spatial``, float32, as far as they are kept; within:
    the features among themselves, where a file has kept it; is_: the inception score.
    """

    about: Mapping[str, Any]
    gaussian: Gaussian
    spatial: Gaussian | None
    arrays: Mapping[str, NDArray[np.float32]]
    is_: float | None
    within: Within | None = None


def see(samples: Samples, extractor: InceptionExtractor, batch: int, advance: Callable[[int], None]) -> Seen:
    """All images through Inception, ``batch`` at a time; ``advance`` is told how many more are done.
    Raises ArbenchError where images are damaged, or are no more than one."""
    arrays: dict[str, NDArray[np.float32]] = {}
    content, done = hashlib.sha256(), 0
    for images in samples.batches(batch):
        content.update(images.numpy().data)
        for name, values in extractor.features(images).items():
            if name not in arrays:  # in full at once: parts put together at the end would stand in memory twice
                arrays[name] = np.empty((samples.count, values.shape[1]), np.float32)
            arrays[name][done : done + len(images)] = values.cpu().numpy()
        done += len(images)
        advance(len(images))
    return Seen(
        about={"path": str(samples.path), "images": samples.count, "sha256": content.hexdigest()},
        gaussian=Moments.of(arrays["features"]).gaussian(),
        spatial=Moments.of(arrays["spatial"]).gaussian(),
        arrays=arrays,
        is_=inception_score(arrays["logits"]),
    )


def watched(path: Path, extractor: InceptionExtractor, batch: int) -> Seen:
    """``see`` for a file or folder, with progress on the terminal."""
    samples = open_samples(path)
    progress = Progress(samples.count, "images")
    try:
        return see(samples, extractor, batch, lambda count: progress.advance(count, str(path.name)))
    finally:
        progress.close()


def reference(path: Path, extractor: InceptionExtractor, batch: int) -> Seen:
    """A reference from a folder or .npz of images, from guided-diffusion's .npz (whose stored ``mu``, ``sigma``,
    ``mu_s``, ``sigma_s`` are taken, and its images for KID, precision and recall), or from ``write_reference``'s file.

    Raises ArbenchError if it is none of these, or was made with another extractor, as far as its size tells.
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
            arrays={"features": stored["features"]},
            is_=about["is"],
            within=Within(stored["features"], stored["radii"], stored["kernel"]) if "radii" in stored else None,
        )
    images = watched(path, extractor, batch) if "images" in stored else None
    if "mu" not in stored:
        if images is None:
            raise ArbenchError(f"{path} holds neither images (arr_0) nor statistics (mu, sigma)")
        return images
    for name, width in (("mu", FEATURES), ("mu_s", SPATIAL)):
        if name in stored:
            same_width(width, np.size(stored[name]), f"{path}: {name}")
    spatial = Gaussian.stored(stored["mu_s"], stored["sigma_s"], str(path)) if "mu_s" in stored else None
    return Seen(
        about={"path": str(path), "sha256": sha256(path), "statistics": "stored", **_count(images)},
        gaussian=Gaussian.stored(stored["mu"], stored["sigma"], str(path)),
        spatial=spatial,
        arrays=images.arrays if images else {},
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
    assert seen.spatial is not None
    about = {**seen.about, "is": seen.is_, "weights": sha256(_weights(extractor))}
    within = Within.of(seen.arrays["features"], "reference")
    arrays: dict[str, NDArray[Any]] = {
        "mu": seen.gaussian.mean,
        "sigma": seen.gaussian.covariance,
        "mu_s": seen.spatial.mean,
        "sigma_s": seen.spatial.covariance,
        "features": within.features,
        "radii": within.radii,
        "kernel": within.kernel,
        "about": np.array(json.dumps(about)),
    }
    files.write_arrays(path, arrays)


def score(samples: Seen, against: Seen, narrate: Narrate = lambda what: silent) -> dict[str, Any]:
    """All figures as plain values, with their intervals; those that the reference has no images for are left out.
    ``flags`` says in words what weakens a figure. The classes of the images are not known: all are drawn alike."""
    found = Fidelity(Resampling(np.zeros(samples.about["images"], np.int64)), narrate)
    found.frechet(INCEPTION, samples.arrays["features"], against.gaussian)
    if against.spatial is not None:
        found.spatial_frechet(INCEPTION, samples.arrays["spatial"], against.spatial)
    found.inception_score(samples.arrays["logits"])
    if against.arrays:
        told = narrate("reference among itself")
        found.pairs(
            samples.arrays["features"], against.within or Within.of(against.arrays["features"], "reference", told)
        )
    else:
        found.flags.append(STATISTICS_ALONE)
    return {**found.figures(), "samples": dict(samples.about), "reference": dict(against.about)}


def in_words(found: Mapping[str, Any]) -> str:
    """The same for a terminal."""
    values, intervals = flat(found), flat(found["intervals"])
    titles = {"fid": "FID", "fid_infinity": "FID-infinity", "sfid": "sFID", "is": "IS", "kid": "KID"}
    lines = [f"{found['samples']['images']} images of {found['samples']['path']} against {found['reference']['path']}"]
    for name in (*titles, "precision", "recall", "density", "coverage"):
        key = name if name in values else f"{name}.{INCEPTION}"
        value, between = values.get(key), intervals.get(key)
        said = f"  95 %: {between[0]:.5g} to {between[1]:.5g}" if between else ""
        lines.append(f"{titles.get(name, name):<14}{'-' if value is None else format(value, '.5g'):>10}{said}")
    return "\n".join([*lines, *(f"note: {flag}" for flag in found["flags"])])
