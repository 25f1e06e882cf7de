"""References by path, for data that are not bundled: guided-diffusion's .npz, a file of ``arbench reference build``, or
images. Their Inception features are cached by content, as for bundled data."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import ArbenchError, one_line
from harness.extractors.base import INCEPTION, Extractor
from harness.extractors.inception import InceptionExtractor
from harness.hashing import digest, file_sha256
from harness.images.arrays import ArrayFile
from harness.images.listing import content_sha256
from harness.images.reading import AS_THEY_ARE, Reading
from harness.images.samples import ARRAY
from harness.stages.quality.pairs import FAR, NEAR, Within
from harness.stages.quality.reference import VERSION, Reference, cached, keep
from harness.stages.quality.seen import Seen, among_itself, holds_statistics, open_reference, write_reference

BATCH = 50


def facts_of(path: Path, extractor: Extractor, reading: Reading = AS_THEY_ARE) -> dict[str, Any]:
    """All facts on which a reference by path depends; the digest of these facts is the reference's key. Raises
    ArbenchError for an extractor other than Inception, and for a path that cannot be read."""
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
    }


def reference_of(path: Path, extractor: Extractor, folder: Path) -> Reference:
    """The reference from a file or a folder of images; it is read from ``folder`` if it was computed before.

    Raises ArbenchError for an extractor other than Inception, and for a file that is no reference.
    """
    facts = facts_of(path, extractor)
    key = digest(facts)
    place = folder / f"reference-{extractor.name}-{key[:16]}.npz"
    found = cached(place)
    if found is not None and found.key == key:
        return found
    assert isinstance(extractor, InceptionExtractor)
    seen = open_reference(path, extractor, BATCH)
    made = Reference(
        key=key,
        facts={**facts, "path": one_line(str(path)), "images": seen.about.get("images"), **_noted(seen)},
        within=_within(seen),
        logits=np.empty((0, 0), np.float32),
        gaussian=seen.gaussian,
        spatial=seen.spatial,
        is_=seen.is_,
        label_accuracy=None,
    )
    keep(place, made)
    return made


def default_cache() -> Path | None:
    """The folder in the user's cache where ``arbench score`` keeps computed references; None if there is no such
    folder."""
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
) -> Seen:
    """``open_reference`` with a cache: images go through Inception only once, and the result is kept in ``folder``, by
    content. ``say`` is called with a line that names the cached file. If the folder cannot be written, ``say`` is
    called with a line that says so, and no error is raised."""
    if folder is None or not _has_images(path):
        return open_reference(path, extractor, batch, reading)
    key = digest(facts_of(path, extractor, reading))
    place = folder / f"reference-{extractor.name}-{key[:16]}.npz"
    try:
        found = open_reference(place, extractor, batch)
        if found.about.get("cached") == key:
            say(f"reference: as it was seen before ({place})")
            return replace(found, about={**found.about, "path": one_line(str(path))})
    except ArbenchError:
        pass  # not there, or damaged: it is computed
    seen = among_itself(open_reference(path, extractor, batch, reading))
    seen = replace(seen, arrays={"features": seen.arrays["features"]})  # the other arrays would take memory for nothing
    try:
        write_reference(place, replace(seen, about={**seen.about, "cached": key}), extractor)
        say(f"reference: kept in {place}")
    except ArbenchError as error:
        say(f"reference: not kept for the next time ({error})")
    return seen


def _has_images(path: Path) -> bool:
    """Whether a path holds images. A file of ``arbench reference build`` and a file of statistics alone hold none."""
    if not holds_statistics(path):
        return True
    names = set(ArrayFile(path).names)
    return "about" not in names and ARRAY in names


def _noted(seen: Seen) -> dict[str, Any]:
    """The notes on the reference's images for records, if there are any."""
    return {"notes": seen.about["notes"]} if seen.about.get("notes") else {}


def _within(seen: Seen) -> Within:
    if seen.within is not None:
        return seen.within
    if "features" in seen.arrays:
        return Within.of(seen.arrays["features"], "reference")
    return Within(np.empty((0, seen.gaussian.dimensions), np.float32), np.empty((0, 2)), np.empty(0))
