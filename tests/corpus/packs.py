"""Submissions: packs of records, damaged, or forged with hashes that fit."""

import random
from pathlib import Path

from tests.corpus.cases import Case, Valid
from tests.corpus.mutations import damaged
from tests.corpus.texts import odd_json
from tests.helpers.submitting import members, packed


def pack_case(rng: random.Random, folder: Path, valid: Valid) -> Case:
    """A pack that is to be imported into a new store."""
    path = folder / "odd.arbench"
    if rng.random() < 0.5:
        what, content = damaged(rng, valid.contents["pack"])
        path.write_bytes(content)
    else:
        parts = members(valid.folder / "rows.arbench")
        name = rng.choice(("0/record.json", "0/record.json", "about.json", *parts))
        change = damaged if name.endswith(".npy") else odd_json
        what, odd = change(rng, parts[name])
        if name == "about.json":
            path.write_bytes(valid.contents["pack"].replace(parts[name][:20], odd[:20], 1))
        else:
            packed(folder, {**parts, name: odd}).rename(path)
        what = f"{name}: {what}"
    return Case("pack", what, ["import", str(path), "--store", str(folder / "store")])
