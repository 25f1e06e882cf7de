"""The Inception features and statistics of a set of images: computed, or read from a file, and written to one."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness import files
from harness.errors import ArbenchError, one_line
from harness.extractors.inception import FEATURES, SPATIAL, InceptionExtractor
from harness.hashing import sha256
from harness.images.arrays import ArrayFile
from harness.images.listing import is_folder
from harness.images.reading import AS_THEY_ARE, Reading, Samples
from harness.images.samples import ARRAY, open_samples
from harness.progress import Progress
from harness.stages.quality.distributions import Gaussian, Moments, inception_score
from harness.stages.quality.features import same_width
from harness.stages.quality.pairs import Within

STORED = ("mu", "sigma", "mu_s", "sigma_s")
"""Names of the statistics in guided-diffusion's files."""
KEPT = (*STORED, "features", "radii", "kernel", "about")
"""Names of the arrays that ``write_reference`` writes."""
THUMBNAILS = 20
"""How many of the first images are kept for a leaderboard's pages."""


@dataclass(frozen=True)
class Seen:
    """The Inception features and statistics of a set of images."""

    about: Mapping[str, Any]  # where the images came from, in plain values; "notes": remarks on the images
    gaussian: Gaussian  # moments of features [N, 2048]
    spatial: Gaussian | None  # moments of the flattened spatial features [N, 2023]
    arrays: Mapping[str, NDArray[np.float32]]  # "features", "logits" and "spatial", as far as they are kept
    is_: float | None  # inception score
    within: Within | None = None  # the features compared among themselves, if a file has kept that
    thumbnails: NDArray[np.uint8] | None = None  # the first images, [up to THUMBNAILS, 1 or 3, H, W]


def see(samples: Samples, extractor: InceptionExtractor, batch: int, advance: Callable[[int], None]) -> Seen:
    """Runs all images through Inception, ``batch`` at a time. After each batch, ``advance`` is called with the batch's
    number of images. Raises ArbenchError if images are damaged, or if there are fewer than two."""
    arrays: dict[str, NDArray[np.float32]] = {}
    content, copies, done = hashlib.sha256(), _Copies(), 0
    first: list[NDArray[np.uint8]] = []
    for images in samples.batches(batch):
        content.update(images.numpy().data)
        copies.add(images)
        first.extend(images[: THUMBNAILS - len(first)].numpy().copy())
        for name, values in extractor.features(images).items():
            if name not in arrays:  # in full at once: joining parts at the end would take the memory twice
                arrays[name] = _room(samples, values.shape[1])
            arrays[name][done : done + len(images)] = values.cpu().numpy()
        done += len(images)
        advance(len(images))
    crop = {"resize": samples.reading.resize} if samples.reading.resize else {}
    notes = [*samples.notes(), *copies.notes(samples.count)]
    return Seen(
        about={"path": samples.title, "images": samples.count, "sha256": content.hexdigest(), **crop, "notes": notes},
        gaussian=Moments.of(arrays["features"]).gaussian(),
        spatial=Moments.of(arrays["spatial"]).gaussian(),
        arrays=arrays,
        is_=inception_score(arrays["logits"]),
        thumbnails=np.stack(first) if len({one.shape for one in first}) == 1 else None,
    )


class _Copies:
    """Counts images that equal an earlier image, pixel by pixel."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self.count = 0

    def add(self, images: Tensor) -> None:
        for image in images.numpy():
            digest = hashlib.blake2b(image.data, digest_size=16).digest()
            self.count += digest in self._known
            self._known.add(digest)

    def notes(self, images: int) -> list[str]:
        return [f"{self.count} of {images} images are exact copies of others"] if self.count else []


def _room(samples: Samples, width: int) -> NDArray[np.float32]:
    try:
        return np.empty((samples.count, width), np.float32)
    except (MemoryError, ValueError) as error:
        gigabytes = samples.count * width * 4e-9
        raise ArbenchError(
            f"{samples.path}: features of {samples.count} images take {gigabytes:.3g} GB, more than there is"
        ) from error


def watched(
    paths: Path | Sequence[Path], extractor: InceptionExtractor, batch: int, reading: Reading = AS_THEY_ARE
) -> Seen:
    """``see`` for files and folders, with progress on the terminal."""
    samples = open_samples(paths, reading)
    progress = Progress(samples.count, "images")
    try:
        return see(samples, extractor, batch, lambda count: progress.advance(count, samples.path.name))
    finally:
        progress.close()


def holds_statistics(path: Path) -> bool:
    """Whether a file is an .npz with mu and sigma. Such a file is a reference, whatever else it holds."""
    return not is_folder(path) and zipfile.is_zipfile(path) and bool({"mu", "about"} & set(ArrayFile(path).names))


def open_reference(path: Path, extractor: InceptionExtractor, batch: int, reading: Reading = AS_THEY_ARE) -> Seen:
    """A reference from a path, which may be one of these:

    - images of any kind that ``open_samples`` takes
    - guided-diffusion's .npz: its stored ``mu``, ``sigma``, ``mu_s`` and ``sigma_s`` are used, and its images for KID,
      precision and recall
    - a file of ``write_reference``

    Raises ArbenchError if the path is none of these, or if the sizes of the statistics, or the weights named in the
    file, show that the file was made with another extractor.
    """
    if is_folder(path) or not zipfile.is_zipfile(path):
        return watched(path, extractor, batch, reading)
    file = ArrayFile(path)
    if "about" in file.names:
        return _kept(file, extractor, reading)
    key = reading.key or ARRAY
    if "mu" not in file.names:
        if key not in file.names:
            listed = f"it holds {file.listed()}"
            raise ArbenchError(f"{path} holds neither images ({key}) nor statistics (mu, sigma); {listed}")
        return watched(path, extractor, batch, reading)
    return _with_statistics(file, extractor, batch, reading)


def _with_statistics(file: ArrayFile, extractor: InceptionExtractor, batch: int, reading: Reading) -> Seen:
    """A reference from guided-diffusion's .npz."""
    path = file.path
    if reading.resize is not None or reading.images is not None:
        raise ArbenchError(
            f"{path} holds statistics (mu, sigma) of its images as they are: --resize and --images cannot go with them"
        )
    stored = file.read(STORED)
    for one, other in (("mu", "sigma"), ("mu_s", "sigma_s")):
        if (one in stored) != (other in stored):
            lacking = other if one in stored else one
            raise ArbenchError(f"{path} lacks {lacking} (it holds {file.listed()})")
    for name, width in (("mu", FEATURES), ("mu_s", SPATIAL)):
        if name in stored:
            same_width(width, np.size(stored[name]), f"{path}: {name}")
    gaussian = Gaussian.stored(stored["mu"], stored["sigma"], str(path))
    spatial = Gaussian.stored(stored["mu_s"], stored["sigma_s"], str(path)) if "mu_s" in stored else None
    images = watched(path, extractor, batch, reading) if (reading.key or ARRAY) in file.names else None
    counted = {"images": images.about["images"], "notes": images.about["notes"]} if images else {}
    return Seen(
        about={"path": one_line(str(path)), "sha256": sha256(path), "statistics": "stored", **counted},
        gaussian=gaussian,
        spatial=spatial,
        arrays=images.arrays if images else {},
        is_=images.is_ if images else None,
    )


def _kept(file: ArrayFile, extractor: InceptionExtractor, reading: Reading) -> Seen:
    """A reference from a file of ``write_reference``."""
    path = file.path
    if reading.images is not None:
        raise ArbenchError(f"{path} holds no images, but what was computed of them: --images cannot go with it")
    stored = file.read(KEPT)
    try:
        about = json.loads(str(stored["about"]))
        weights, images = about["weights"], about.get("images")
        is_ = about["is"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArbenchError(f"{path}: its array 'about' is not one of 'arbench reference build'") from error
    if weights != sha256(_weights(extractor)):
        raise ArbenchError(f"{path} was made with other Inception weights")
    needed = ["mu", "sigma"] + ["sigma_s"] * ("mu_s" in stored) + ["radii", "kernel"] * ("features" in stored)
    if lacking := [name for name in needed if name not in stored]:
        raise ArbenchError(f"{path} lacks {', '.join(lacking)} (it holds {file.listed()})")
    count = None if about.get("statistics") == "stored" else images
    spatial = Gaussian.stored(stored["mu_s"], stored["sigma_s"], str(path), count) if "mu_s" in stored else None
    within = "features" in stored and Within(stored["features"], stored["radii"], stored["kernel"])
    return Seen(
        about={**about, "path": one_line(str(path))},
        gaussian=Gaussian.stored(stored["mu"], stored["sigma"], str(path), count),
        spatial=spatial,
        arrays={"features": stored["features"]} if "features" in stored else {},
        is_=is_,
        within=within or None,
    )


def _weights(extractor: InceptionExtractor) -> Path:
    assert extractor.weights is not None
    return extractor.weights


def among_itself(seen: Seen) -> Seen:
    """The same set, with ``within`` computed if there are features."""
    if seen.within is not None or "features" not in seen.arrays:
        return seen
    return replace(seen, within=Within.of(seen.arrays["features"], "reference"))


def write_reference(path: Path, seen: Seen, extractor: InceptionExtractor) -> None:
    """Writes a reference: statistics under guided-diffusion's names, features, and the images' origin."""
    about = {**seen.about, "is": seen.is_, "weights": sha256(_weights(extractor))}
    arrays: dict[str, NDArray[Any]] = {
        "mu": seen.gaussian.mean,
        "sigma": seen.gaussian.covariance,
        "about": np.array(json.dumps(about)),
    }
    if seen.spatial is not None:
        arrays |= {"mu_s": seen.spatial.mean, "sigma_s": seen.spatial.covariance}
    within = among_itself(seen).within
    if within is not None:
        arrays |= {"features": within.features, "radii": within.radii, "kernel": within.kernel}
    files.write_arrays(path, arrays)
