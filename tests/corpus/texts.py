"""What people write in TOML, and what the store holds in JSON."""

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

from tests.corpus.cases import Case, Valid
from tests.corpus.mutations import damaged
from tests.helpers.sweeping import SWEEP

SWEEP_FILE = """
preset = "tiny"
images = 28
seed = [0, 1]
[sampling]
cfg = [1.0, 1.5]
temperature = 0.9
[setup]
precision = "fp32"
[timing]
warmup = 1
latency_seconds = 0.5
[[method.fake]]
knobs = { shade = "dark" }
grid = { steps = [1, 2, 4] }
[[method.fake]]
list = [{ warmth = 0.5 }, {}]
sampling = { top_k = 4 }
cluster = { time = "30" }
"""
SITE_FILE = """
partition = "main"
cpus = 2
memory = "4G"
time = "1:00:00"
setup = ["true"]
poll-seconds = 3
no-kill = true
[timing]
time = "30"
[train]
nodes = 2
"""
ODD_TOML = (
    "nan", "inf", "-inf", "1" + "0" * 400, "9" * 5000, "-1", "0", "-0.0", "1e400", "true", "[]", "{}", '""', "'x'",
    "1979-05-27", "07:32:00", "[[1]]", "[1, 'a']", "{ a = 1 }", "0x7f", "1_000", '"\\u0000"', '"\\u001b[2J"', "2.5",
    '"' + "x" * 5000 + '"', "[nan, 1]", "[true]", "9223372036854775808", '"../../x"', "[" * 500 + "]" * 500, "",
    '"<script>alert(1)</script>"', "1e-320",
)  # fmt: skip
ODD_JSON: tuple[Any, ...] = (
    None, True, False, -1, 0, 2**63, 1e29, 1e308, -0.0, "", "x", "<script>alert(1)</script>", "../..", "\x07\x1b[2J",
    [], {}, [[]], {"a": {}}, "1", [1, "a"], [None], {"": None}, "x" * 50_000, 1e-320, [0] * 1000, "\u202e", -5.5,
)  # fmt: skip
RAW_JSON = ("NaN", "Infinity", "-Infinity", "1" + "0" * 400, "9" * 5000, '"\\ud800"', "[" * 3000 + "]" * 3000, "1e999")
ENCODINGS = ("utf-16", "utf-16-be", "utf-32", "utf-8-sig", "utf-7", "cp1252")


def odd_toml(rng: random.Random, text: str) -> tuple[str, bytes]:
    """TOML with a value that is odd, in another encoding, or damaged."""
    way = rng.random()
    if way < 0.6:
        places = list(re.finditer(r"(?<== )[^=\n{}]+(?=[ \n}])|(?<=\[)\d+(?=,)|\"\w+\"", text))
        place, value = rng.choice(places), rng.choice(ODD_TOML)
        return f"value {value[:20]}", (text[: place.start()] + value + text[place.end() :]).encode()
    if way < 0.75:
        encoding = rng.choice(ENCODINGS)
        return encoding, f"# für alle\n{text}".encode(encoding)
    if way < 0.85:
        lines = text.strip().splitlines()
        line = rng.randrange(len(lines))
        odd = rng.choice(
            ("", lines[line] * 2, f"{lines[line]}\n{lines[line]}", "[" + lines[line], "x = ", "\0", "[a.b]")
        )
        return "line", "\n".join([*lines[:line], odd, *lines[line + 1 :]]).encode()
    return damaged(rng, text.encode())


def sweep_case(rng: random.Random, folder: Path, valid: Valid) -> Case:
    """A sweep."""
    what, content = odd_toml(rng, SWEEP_FILE)
    (folder / "odd.toml").write_bytes(content)
    return Case("sweep", what, ["run", str(folder / "odd.toml"), "--store", str(folder / "store"), "--workers", "0"])


def site_case(rng: random.Random, folder: Path, valid: Valid) -> Case:
    """A site file."""
    what, content = odd_toml(rng, SITE_FILE)
    (folder / "odd.toml").write_bytes(content)
    (folder / "small.toml").write_text(SWEEP.replace("[1, 2, 4]", "[1]"))
    command = ["run", str(folder / "small.toml"), "--store", str(folder / "store"), "--workers", "0"]
    return Case("site", what, [*command, "--cluster", "slurm", "--site", str(folder / "odd.toml"), "--dry-run"])


def odd_json(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """JSON with a part that is odd or gone, in another encoding, or damaged."""
    if rng.random() < 0.3:
        return damaged(rng, content)
    if rng.random() < 0.1:
        encoding = rng.choice(ENCODINGS)
        return encoding, content.decode().encode(encoding)
    value = json.loads(content)
    owner, key = _somewhere(rng, value)
    way = rng.random()
    where = f"{key}"
    if way < 0.15:
        del owner[key]
        return f"no {where}", json.dumps(value).encode()
    if way < 0.3:
        owner[key] = "@here@"
        raw = rng.choice(RAW_JSON)
        return f"{where} = {raw[:20]}", json.dumps(value).replace('"@here@"', raw).encode()
    owner[key] = rng.choice(ODD_JSON)
    return f"{where} = {str(owner[key])[:20]!r}", json.dumps(value).encode()


def _somewhere(rng: random.Random, value: Any) -> tuple[Any, Any]:
    """A place at any depth of a value: what holds it, and its name or number."""
    owner, key = value, rng.choice(list(value))
    while isinstance(owner[key], dict | list) and owner[key] and rng.random() < 0.75:
        owner = owner[key]
        key = rng.choice(list(owner)) if isinstance(owner, dict) else rng.randrange(len(owner))
    return owner, key


def record_case(rng: random.Random, folder: Path, valid: Valid) -> Case:
    """A record, its arrays, or another file of a store, beside records that are whole."""
    store = folder / "store"
    shutil.copytree(valid.folder / "store", store)
    records = sorted((store / "records").glob("*.json"))
    others = [store / "reference.json", *sorted((store / "sweeps").glob("*.json"))]
    arrays = sorted((store / "records").glob("*.npz"))
    path = rng.choice((*records, *records, *records, *records, rng.choice(others), rng.choice(arrays)))
    what, odd = (damaged if path.suffix == ".npz" else odd_json)(rng, path.read_bytes())
    path.write_bytes(odd)
    name = json.loads(valid.contents["record"])["name"]
    commands = {
        "export": ["export", "--store", str(store), "--out", str(folder / "all.csv")],
        "status": ["status", str(store)],
        "submit": ["submit", "--store", str(store), "--out", str(folder / "x.arbench"), "--by", "me"],
        "compare": ["compare", name, name, "--store", str(store)],
        "diff": ["diff", str(store), str(valid.folder / "store")],
        "report": ["report", "--store", str(store), "--out", str(folder / "site")],
        "verify": ["verify", str(path), "--workers", "0"],
        "run": ["run", str(valid.folder / "small.toml"), "--store", str(store), "--workers", "0"],
    }
    kind = "record" if path.suffix == ".json" else "record's npz"
    command = rng.choice(("export", "export", "submit", "compare", "diff", "report", "run", "verify"))
    if path in others:
        command, kind = rng.choice(("report", "status", "status")), "store's json"
    if path in arrays and command == "verify":
        command = "submit"
    return Case(kind, f"{command}: {what}", commands[command])
