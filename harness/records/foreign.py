"""Adds rows to a store's leaderboard for samples that another program made (foreign samples).

Such a row has scores, but there is no trial behind the scores. The record of the row has the part ``foreign``, which
says what was scored. The parts ``generate``, ``flops``, ``timing`` and ``parameters`` of this record are null. The
cost of foreign samples is not known, so the row is not on the Pareto frontier of FID and cost. arbench cannot make the
samples again, so ``arbench submit`` leaves the record out.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import registry
from harness.errors import ArbenchError, one_line
from harness.extractors.base import INCEPTION
from harness.extractors.inception import InceptionExtractor
from harness.hashing import digest
from harness.identity import provenance
from harness.images.reading import Reading
from harness.records.store import REPLICATES, Record, Store
from harness.stages import VERSIONS
from harness.stages.quality.reference_files import facts_of
from harness.stages.quality.score import Scored
from harness.stages.quality.seen import Seen

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,59}", re.ASCII)
FAMILY = "foreign samples"
"""Stands in such a row where other rows name the family of the method, and also where they name the preset."""
DIFFERENCES = "Images made by another program: scored here, not generated here. No FLOPs, no times."


@dataclass(frozen=True)
class Row:
    """A row to be written. Making a ``Row`` checks its name, so that a wrong name is reported at the start."""

    folder: Path  # the store's folder
    name: str  # the row's name on the leaderboard
    replace: bool  # whether the row may replace an earlier foreign row of the same name

    def __post_init__(self) -> None:
        if self.name is None or not NAME.fullmatch(self.name):
            raise ArbenchError(
                f"--name {self.name!r}: a row's name has up to 60 letters, digits and _ . + -, the first a letter or "
                "digit"
            )
        if self.name in registry.names() or any(not is_foreign(one) for one in self._namesakes()):
            raise ArbenchError(f"--name {self.name!r} is a method's: its rows would be taken for that method's")
        if not self.replace and self._namesakes():
            raise ArbenchError(
                f"{self.folder} has a row of foreign samples called {self.name!r} (--replace replaces it)"
            )

    def _namesakes(self) -> list[Record]:
        store = Store(self.folder)
        return [one for one in store.all_records() if one["trial"]["method"] == self.name]

    def write(
        self, seen: Seen, found: Scored, reference: Path, extractor: InceptionExtractor, reading: Reading
    ) -> Path:
        """Write the record and its arrays; returns the record's file. The reference was seen in batches of the same
        size as the samples."""
        store = Store(self.folder)
        store.prepare()
        facts = {**facts_of(reference, extractor, reading, seen.about["batch"]), "path": one_line(str(reference))}
        record = self._record(seen, found, facts)
        arrays: dict[str, Any] = {
            f"{REPLICATES}{name}": values.astype(np.float32) for name, values in found.replicates.items()
        }
        if seen.thumbnails is not None:
            arrays["thumbnails"] = seen.thumbnails
        replaced = {store.path(one["name"], one["key"]) for one in self._namesakes()}
        store.write(record, arrays)
        path = store.path(record["name"], record["key"])
        for old in replaced - {path}:
            old.unlink(missing_ok=True)
            old.with_suffix(".npz").unlink(missing_ok=True)
        return path

    def _record(self, seen: Seen, found: Scored, facts: dict[str, Any]) -> Record:
        known = {name: value for name, value in facts.items() if name != "path"}
        samples, key = dict(seen.about), digest(known)
        images = samples["images"]
        figures = {name: value for name, value in found.figures.items() if name not in ("samples", "reference")}
        about = {"key": key, **facts, "images": found.figures["reference"].get("images")}
        identity = {
            FAMILY: {"name": self.name, **samples},
            "quality": {"version": VERSIONS["quality"], "references": [key]},
        }
        now = provenance.now()
        return {
            "name": self.name,
            "key": digest(identity),
            "identity": identity,
            "status": "done",
            "failure": None,
            "trial": {
                "method": self.name,
                "preset": FAMILY,
                "knobs": {},
                "sampling": {},
                "seed": 0,
                "images": images,
                "setup": {},
            },
            "data": self._data(key) or Path(facts["path"]).name,
            "method": {"title": self.name, "family": FAMILY, "paper": "", "differences": DIFFERENCES},
            "generate": None,
            "quality": {
                "label_accuracy": None,
                **figures,
                "extractor": INCEPTION,
                "reference": about,
                "version": VERSIONS["quality"],
            },
            "flops": None,
            "timing": None,
            "parameters": None,
            "foreign": samples,
            "provenance": {
                **provenance.gather(),
                "started": now,
                "finished": now,
                "weights": {},
                "data": facts["data"],
                "reference": key,
                "extractors": {INCEPTION: facts["weights"]},
            },
        }

    def _data(self, reference: str) -> str | None:
        """The name of the row's data set. The row has the same data set as every other record with the same reference.
        So the name is copied from the first record in the store with this reference. None if the store has no such
        record.

        reference: the key of the row's reference.
        """
        for record in Store(self.folder).all_records():
            if (record.get("provenance") or {}).get("reference") == reference and record.get("data"):
                return str(record["data"])
        return None


def is_foreign(record: Record) -> bool:
    """Whether a record is of samples that another program made."""
    return "foreign" in record
