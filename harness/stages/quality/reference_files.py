"""References that the user gives as a path, for data that do not ship with arbench. The path leads to images, to
guided-diffusion's .npz, or to a file that ``arbench reference build`` wrote. References computed from images are cached
by content."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import ArbenchError, one_line
from harness.extractors.base import INCEPTION, Extractor
from harness.extractors.inception import FEATURES, SPATIAL, InceptionExtractor
from harness.hashing import file_sha256, sha256
from harness.images.arrays import ArrayFile
from harness.images.listing import content_sha256, is_folder
from harness.images.reading import AS_THEY_ARE, Reading
from harness.images.samples import ARRAY
from harness.stages.quality.distributions import Gaussian
from harness.stages.quality.features import Tell, same_width, silent
from harness.stages.quality.pairs import FAR, NEAR, Within
from harness.stages.quality.reference import STATISTICS, UNKNOWN_TF32, VERSION, Reference, cached, read, stated, write
from harness.stages.quality.seen import Seen, watched

BATCH = 50
"""How many images Inception sees at once, unless another number is asked for."""


def facts_of(path: Path, extractor: Extractor, reading: Reading = AS_THEY_ARE, batch: int = BATCH) -> dict[str, Any]:
    """All facts on which the reference of a path depends. The digest of these facts is the reference's key. Raises
    ArbenchError for an extractor other than Inception, and for a path that cannot be read.

    batch: number of images that Inception sees at once; no fact of a reference that has no images to be seen
    """
    if not isinstance(extractor, InceptionExtractor):
        raise ArbenchError(
            f"reference {path}: a reference by path is for extractor {INCEPTION!r}, not {extractor.name!r}"
        )
    return {
        "version": VERSION,
        "data": content_sha256(path),
        "extractor": extractor.name,
        "weights": file_sha256(extractor.weights),
        "resize": extractor.resize,
        "classifies": extractor.classifies,
        "neighbours": [NEAR, FAR],
        **({"crop": reading.resize} if reading.resize else {}),
        **({"array": reading.key} if reading.key else {}),
        **({"batch": batch} if batch != BATCH and _has_images(path, reading) else {}),
        **stated(extractor),
    }


def reference_of(path: Path, extractor: Extractor, folder: Path) -> Reference:
    """The reference that ``path`` names: a file, or a folder of images. If this reference was computed before, it is
    read from the cache in ``folder``.

    Raises ArbenchError for an extractor other than Inception, and for a file that is no reference.
    """
    facts = facts_of(path, extractor)
    assert isinstance(extractor, InceptionExtractor)  # facts_of refuses any other
    key, file, found = cached(facts, extractor, folder)
    if found is None:
        seen = open_reference(path, extractor, BATCH)
        told = {name: seen.facts[name] for name in ("notes", "statistics") if seen.facts.get(name)}
        facts = {**facts, "path": one_line(str(path)), "images": seen.facts.get("images"), **told}
        found = replace(seen, key=key, facts=facts)
        write(file, found)
    return found


def default_cache() -> Path | None:
    """The folder in the user's cache where ``arbench score`` keeps computed references. It need not exist yet. None if
    the user has neither the variable XDG_CACHE_HOME nor a home folder."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # no HOME, and no entry in the system's list of users
        return None
    return Path(base) / "arbench" / "references"


def remembered(
    path: Path,
    extractor: InceptionExtractor,
    batch: int,
    reading: Reading,
    folder: Path | None,
    say: Callable[[str], None],
    tell: Tell = silent,
) -> Reference:
    """``open_reference`` with a cache in ``folder``. Images with the same content go through Inception only once.

    ``say`` is called with a line that names the cached file. If the folder cannot be written, ``say`` is called with a
    line that says so, and no error is raised.
    """
    if folder is None or not _has_images(path, reading):
        return open_reference(path, extractor, batch, reading, tell)
    key, file, found = cached(facts_of(path, extractor, reading, batch), extractor, folder)
    if found is not None:
        say(f"reference: as it was seen before ({file})")
        return replace(found, facts={**found.facts, "path": one_line(str(path))})
    made = replace(open_reference(path, extractor, batch, reading, tell), key=key)
    try:
        write(file, made)
        say(f"reference: kept in {file}")
    except ArbenchError as error:
        say(f"reference: not kept for the next time ({error})")
    return made


def _has_images(path: Path, reading: Reading) -> bool:
    """Whether a path holds images. Two kinds of files hold no images: a file that ``arbench reference build`` wrote,
    and an .npz that contains only statistics."""
    if not holds_statistics(path):
        return True
    names = set(ArrayFile(path).names)
    return "about" not in names and (reading.key or ARRAY) in names


def holds_statistics(path: Path) -> bool:
    """Whether a file is an .npz with statistics. Such a file is a reference, whatever else it holds.

    There are two kinds: guided-diffusion's .npz has the array ``mu``; a file that ``arbench reference build`` wrote has
    the array ``about``.
    """
    return not is_folder(path) and zipfile.is_zipfile(path) and bool({"mu", "about"} & set(ArrayFile(path).names))


def open_reference(
    path: Path, extractor: InceptionExtractor, batch: int, reading: Reading = AS_THEY_ARE, tell: Tell = silent
) -> Reference:
    """Makes a reference from the data at a path. Three kinds of data are valid:

    - images of any kind that ``open_samples`` takes
    - guided-diffusion's .npz: the statistics stored in it (``mu``, ``sigma``, ``mu_s``, ``sigma_s``) are used for FID
      and sFID, and its images for KID, precision and recall
    - a file that ``arbench reference build`` wrote

    ``tell`` is called while the images are compared among themselves.

    Raises ArbenchError if the data are of no such kind, or if the file was made with another extractor. There are two
    signs of another extractor: the statistics in the file have another size than the statistics of ``extractor``, or
    the file states the hash of other weights.
    """
    if is_folder(path) or not zipfile.is_zipfile(path):
        return of_seen(watched(path, extractor, batch, reading), extractor, tell)
    file = ArrayFile(path)
    if "about" in file.names:
        return _built(path, extractor, reading)
    key = reading.key or ARRAY
    if "mu" not in file.names:
        if key not in file.names:
            listed = f"it holds {file.listed()}"
            raise ArbenchError(f"{path} holds neither images ({key}) nor statistics (mu, sigma); {listed}")
        return of_seen(watched(path, extractor, batch, reading), extractor, tell)
    return _with_statistics(file, extractor, batch, reading, tell)


def of_seen(seen: Seen, extractor: InceptionExtractor, tell: Tell = silent) -> Reference:
    """Makes a reference from a set of images. seen: the features and statistics that Inception gave for the images."""
    return Reference(
        facts={**seen.about, **_of(extractor)},
        gaussian=seen.gaussian,
        spatial=seen.spatial,
        within=Within.of(seen.arrays["features"], "reference", tell),
        is_=seen.is_,
    )


def _of(extractor: InceptionExtractor) -> dict[str, Any]:
    return {"extractor": extractor.name, "weights": sha256(_weights(extractor)), **stated(extractor)}


def _with_statistics(
    file: ArrayFile, extractor: InceptionExtractor, batch: int, reading: Reading, tell: Tell
) -> Reference:
    """A reference from guided-diffusion's .npz."""
    path = file.path
    if reading.resize is not None or reading.images is not None:
        raise ArbenchError(
            f"{path} holds statistics (mu, sigma) of its images as they are: --resize and --images cannot go with them"
        )
    stored = file.read(STATISTICS)
    for one, other in (("mu", "sigma"), ("mu_s", "sigma_s")):
        if (one in stored) != (other in stored):
            lacking = other if one in stored else one
            raise ArbenchError(f"{path} lacks {lacking} (it holds {file.listed()})")
    for name, width in (("mu", FEATURES), ("mu_s", SPATIAL)):
        if name in stored:
            same_width(width, np.size(stored[name]), f"{path}: {name}")
    gaussian = Gaussian.stored(stored["mu"], stored["sigma"], str(path))
    spatial = Gaussian.stored(stored["mu_s"], stored["sigma_s"], str(path)) if "mu_s" in stored else None
    images = None
    if (reading.key or ARRAY) in file.names:
        images = of_seen(watched(path, extractor, batch, reading), extractor, tell)
    counted = {"images": images.facts["images"], "notes": images.facts["notes"]} if images else {}
    about = {"path": one_line(str(path)), "sha256": sha256(path), "statistics": "stored", **counted}
    return Reference(
        facts={**about, **_of(extractor)},
        gaussian=gaussian,
        spatial=spatial,
        within=images.within if images else None,
        is_=images.is_ if images else None,
    )


def _built(path: Path, extractor: InceptionExtractor, reading: Reading) -> Reference:
    """A reference from a file that ``arbench reference build`` wrote."""
    if reading.images is not None:
        raise ArbenchError(f"{path} holds no images, but what was computed of them: --images cannot go with it")
    found = read(path)
    known = {"tf32": UNKNOWN_TF32, **found.facts}  # an earlier version did not state it, whatever its device did
    if found.facts["weights"] != sha256(_weights(extractor)):
        raise ArbenchError(f"{path} was made with other Inception weights")
    if known["tf32"] not in (extractor.tf32, UNKNOWN_TF32):
        raise ArbenchError(f"{path} was made with tf32 {found.tf32} (here it is {extractor.tf32}): build it again")
    return replace(found, facts={**known, "path": one_line(str(path)), "extractor": extractor.name})


def _weights(extractor: InceptionExtractor) -> Path:
    assert extractor.weights is not None
    return extractor.weights
