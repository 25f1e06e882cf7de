"""References by path, for data that do not ship with us: guided-diffusion's .npz, what ``arbench reference build``
wrote, or images. What Inception sees in them is cached by content, as for bundled data."""

from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import ArbenchError
from harness.extractors import INCEPTION
from harness.extractors_inception import InceptionExtractor
from harness.hashing import digest, file_sha256
from harness.pairs import FAR, NEAR, Within
from harness.reference import VERSION, Extractor, Reference, cached, keep
from harness.samples import SUFFIXES
from harness.score import Seen
from harness.score import reference as seen_in

BATCH = 50


def reference_of(path: Path, extractor: Extractor, folder: Path) -> Reference:
    """The reference that a file or folder of images gives, from ``folder`` if it was computed before.

    Raises ArbenchError for another extractor than Inception, and for a file that is no reference.
    """
    if not isinstance(extractor, InceptionExtractor):
        raise ArbenchError(
            f"reference {path}: a reference by path is for extractor {INCEPTION!r}, not {extractor.name!r}"
        )
    facts: dict[str, Any] = {
        "version": VERSION,
        "data": _sha256(path),
        "extractor": extractor.name,
        "weights": file_sha256(extractor.weights),
        "resize": extractor.resize,
        "classifies": extractor.classifies,
        "neighbours": [NEAR, FAR],
    }
    key = digest(facts)
    place = folder / f"reference-{extractor.name}-{key[:16]}.npz"
    found = cached(place)
    if found is not None and found.key == key:
        return found
    seen = seen_in(path, extractor, BATCH)
    made = Reference(
        key=key,
        facts={**facts, "path": str(path), "images": seen.about.get("images")},
        within=_within(seen),
        logits=np.empty((0, 0), np.float32),
        gaussian=seen.gaussian,
        spatial=seen.spatial,
        is_=seen.is_,
        label_accuracy=None,
    )
    keep(place, made)
    return made


def _within(seen: Seen) -> Within:
    if seen.within is not None:
        return seen.within
    if "features" in seen.arrays:
        return Within.of(seen.arrays["features"], "reference")
    return Within(np.empty((0, seen.gaussian.dimensions), np.float32), np.empty((0, 2)), np.empty(0))


def _sha256(path: Path) -> str:
    """Of a file's bytes; of a folder, of the names and bytes of its images."""
    if not path.is_dir():
        return file_sha256(path)
    images = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    return digest([[str(file.relative_to(path)), file_sha256(file)] for file in images])
