"""The records that come with arbench, for ``arbench claims`` without a store.

These are the records that the verdicts on claims use, without their images. ``nox -s bundle -- --store STORE`` makes
the file of records anew; ``python -m reports.claims.bundled STORE`` does the same. The file that comes with arbench is
from a store with the trials of seed 0, of the sweeps ``fmnist`` and ``fmnist-seeds``.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.records import packs
from harness.records.store import REPLICATES, Store
from reports.certainty import SCORES
from reports.claims.claim import FOLDER, shipped
from reports.claims.evidence import Evidence
from reports.claims.verdict import judge

FILE = FOLDER / "bundled.zip"


@contextmanager
def bundled_store(file: Path = FILE) -> Iterator[Store]:
    """The bundled records as a store, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="arbench-claims-") as folder:
        store = Store(Path(folder))
        store.prepare()
        for record, arrays in packs.read(file).records:
            store.write(record, arrays)
        yield store


def bundle(store: Store, file: Path = FILE) -> int:
    """Write a file with the records that the verdicts on the shipped claims use; returns the number of records."""
    evidence = Evidence(store)
    keys = {key for claim in shipped() for one in judge(claim, evidence).figures for key in one.keys}
    records = [record for record in store.records() if record["key"] in keys]
    kept = tuple(REPLICATES + name.partition("{")[0] for name in SCORES.values())
    arrays = (
        {name: array for name, array in store.arrays(record).items() if name.startswith(kept)} for record in records
    )
    last = max((str(record["provenance"]["finished"]) for record in records), default="")
    packs.write(file, "arbench", last, zip(records, arrays, strict=True))
    return len(records)


if __name__ == "__main__":
    print(f"{bundle(Store(Path(sys.argv[1])).must_exist())} records written to {FILE}")
