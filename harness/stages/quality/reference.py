"""The reference that samples are compared with, for one extractor, and its file.

The file is an .npz. The statistics in it have the names that guided-diffusion uses. The command
``arbench reference build`` writes such a file for a user. Computed references are also cached in such files. The cache
of a sweep is in its store, the folder that holds the records of its trials. The command ``arbench score`` has a cache
of its own. The arrays are:

mu, sigma                float64 [D], [D, D], mean and covariance of the features
mu_s, sigma_s            mean and covariance of the features that keep spatial positions, if the extractor has such
                         features
features, radii, kernel  the fields of ``Within``: the features, float32 [N, D], and the results of comparing the images
                         among themselves; left out if there are no images
logits                   float32 [N, classes]; only if the reference is a data set that ships with arbench
about                    JSON: the dict that ``Reference.about`` returns. It has an entry for each fact about the set
                         (such as the number of images), and the entries ``is``, ``label_accuracy`` and ``key``. ``is``
                         is the inception score of the reference images. ``label_accuracy`` is the share of these
                         images that the extractor puts in the class of their label. The key is a hash of all that the
                         reference depends on

Files of two earlier forms are read as well. In the first form, the statistics have the names mean, covariance,
``spatial mean`` and ``spatial covariance``, and ``about`` has a single entry ``facts`` for all facts together. In the
second form, the key is in the entry ``cached`` of ``about``, not in the entry ``key``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import files
from harness.errors import ArbenchError
from harness.extractors.base import Extractor
from harness.hashing import digest
from harness.images.arrays import ArrayFile
from harness.stages.quality.distributions import Gaussian
from harness.stages.quality.pairs import Within

VERSION = 2
"""Version of references. It is counted up when arbench computes other numbers from the same images and extractor."""
STATISTICS = ("mu", "sigma", "mu_s", "sigma_s")
EARLIER = {"mu": "mean", "sigma": "covariance", "mu_s": "spatial mean", "sigma_s": "spatial covariance"}
"""Names of the statistics in caches of earlier versions."""
NAMES = (*STATISTICS, *EARLIER.values(), "features", "radii", "kernel", "logits", "about")
NO_TF32 = "off"
"""``Extractor.tf32`` of computed references whose facts do not state it."""
UNKNOWN_TF32 = "unknown"
"""Stands for ``Extractor.tf32`` in the facts of a file that a user built with an earlier version."""
SCORES = ("key", "is", "label_accuracy")
"""The entries that ``about`` has in addition to the facts."""


@dataclass(frozen=True)
class Reference:
    """The features and statistics of a set of reference images, for one extractor, with the inception score and the
    label accuracy of these images."""

    facts: Mapping[str, Any]  # what the set is, in plain values: number of images, path, hashes, "notes" on the images
    gaussian: Gaussian  # of the features
    spatial: Gaussian | None  # of the features that keep spatial positions, if the extractor has them
    within: Within | None  # features float32 [N, D], compared among themselves; None if there are statistics alone
    is_: float | None  # inception score of the reference images; None if there are statistics alone
    # Share of the reference images that the extractor puts in the class of their label; None if the extractor has other
    # classes than the labels.
    label_accuracy: float | None = None
    logits: NDArray[np.float32] | None = None  # [N, classes]; only for data sets of arbench
    key: str = ""  # sha256 of all that the reference depends on; empty if it is in no cache

    @property
    def extractor(self) -> str:
        """The extractor's name."""
        return str(self.facts["extractor"])

    @property
    def tf32(self) -> str:
        """``Extractor.tf32`` of the extractor that saw the images; UNKNOWN_TF32 if that is not known."""
        return str(self.facts.get("tf32", NO_TF32))

    def about(self) -> dict[str, Any]:
        """A dict of plain values that describes the reference. In a record, the part ``quality`` has this dict under
        the key ``reference``. The dict has these entries:

        - one for each fact about the set, such as the number of images
        - ``key``: a hash of all that the reference depends on
        - ``tf32``: whether the extractor used TF32
        - ``is``: the inception score of the reference images, or None
        - ``label_accuracy``: the share of these images that the extractor puts in the class of their label, or None
        """
        return {"key": self.key, **self.facts, "tf32": self.tf32, "is": self.is_, "label_accuracy": self.label_accuracy}


def stated(extractor: Extractor) -> dict[str, Any]:
    """The arithmetic of an extractor, as a part of a reference's facts. Empty without TF32, so that references of
    earlier versions that were computed on CPUs keep their keys."""
    return {} if extractor.tf32 == NO_TF32 else {"tf32": extractor.tf32}


def write(path: Path, reference: Reference) -> None:
    """Write a reference to a file, completely or not at all. Raises ArbenchError if the file cannot be written."""
    arrays: dict[str, NDArray[Any]] = {
        "mu": reference.gaussian.mean,
        "sigma": reference.gaussian.covariance,
        "about": np.array(json.dumps(reference.about())),
    }
    if reference.spatial is not None:
        arrays |= {"mu_s": reference.spatial.mean, "sigma_s": reference.spatial.covariance}
    if (within := reference.within) is not None:
        arrays |= {"features": within.features, "radii": within.radii, "kernel": within.kernel}
    if reference.logits is not None:
        arrays["logits"] = reference.logits
    files.write_arrays(path, arrays)


def read(path: Path) -> Reference:
    """Read a reference from a file that ``write`` wrote, now or in an earlier version. Raises ArbenchError if the file
    is damaged or holds no reference."""
    file = ArrayFile(path)
    stored = file.read(NAMES)
    for name, before in EARLIER.items():
        if name not in stored and before in stored:
            stored[name] = stored.pop(before)
    try:
        about: dict[str, Any] = json.loads(str(stored["about"]))
        facts = {**about, **about.get("facts", {})}
        scores = {name: facts.pop(name, None) for name in (*SCORES, "cached", "facts")}
        count = None if facts.get("statistics") == "stored" else facts.get("images")
        if "is" not in about or "weights" not in facts:
            raise KeyError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArbenchError(f"{path}: its array 'about' is not one of 'arbench reference build'") from error
    there = "features" in stored and len(stored["features"]) > 0
    needed = ["mu", "sigma"] + ["sigma_s"] * ("mu_s" in stored) + ["radii", "kernel"] * there
    if lacking := [name for name in needed if name not in stored]:
        raise ArbenchError(f"{path} lacks {', '.join(lacking)} (it holds {file.listed()})")
    spatial = Gaussian.stored(stored["mu_s"], stored["sigma_s"], str(path), count) if "mu_s" in stored else None
    return Reference(
        facts=facts,
        gaussian=Gaussian.stored(stored["mu"], stored["sigma"], str(path), count),
        spatial=spatial,
        within=Within(stored["features"], stored["radii"], stored["kernel"]) if there else None,
        is_=scores["is"],
        label_accuracy=scores["label_accuracy"],
        logits=stored.get("logits"),
        key=scores["key"] or scores["cached"] or "",
    )


def cached(facts: Mapping[str, Any], extractor: Extractor, folder: Path) -> tuple[str, Path, Reference | None]:
    """Look for a reference in a cache. Returns the reference's key, its file in ``folder``, and the reference itself.
    The reference is None if the file is missing or damaged, or belongs to another key. It is also None if the file does
    not state ``tf32``: earlier versions computed references on the run's device, and on a GPU with TF32.

    facts: all that the reference depends on. The key is the hash of these facts.
    """
    key = digest(facts)
    path = folder / f"reference-{extractor.name}-{key[:16]}.npz"
    try:
        found = read(path)
    except ArbenchError:
        return key, path, None
    return key, path, found if found.key == key and "tf32" in found.facts else None
