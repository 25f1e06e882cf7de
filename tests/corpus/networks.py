"""Weights: safetensors, and files of torch.save of all ages."""

import io
import json
import pickle
import random
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from tests.corpus.cases import Case, Valid
from tests.corpus.mutations import damaged
from tests.helpers.sweeping import SWEEP


class Runs:
    """Would write a file if it were unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("it-ran"),)


def saved(value: Any, old: bool = False) -> bytes:
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def with_header(header: Any, tensors: bytes, length: int | None = None) -> bytes:
    """A safetensors file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + tensors


def odd_safetensors(rng: random.Random, valid: bytes) -> tuple[str, bytes]:
    """A safetensors file with an odd header."""
    (length,) = struct.unpack("<Q", valid[:8])
    header, tensors = json.loads(valid[8 : 8 + length]), valid[8 + length :]
    name = rng.choice([one for one in header if one != "__metadata__"])
    entry = dict(header[name])
    size = len(tensors)
    odd: dict[str, Any] = {
        "huge length": lambda: with_header(header, tensors, rng.choice((10**12, 2**63, 2**64 - 1, 0, 1, 10**8))),
        "huge shape": lambda: {**header, name: {**entry, "shape": [10**12]}},
        "negative shape": lambda: {**header, name: {**entry, "shape": [-1]}},
        "fractional shape": lambda: {**header, name: {**entry, "shape": [1.5]}},
        "other shape": lambda: {**header, name: {**entry, "shape": entry["shape"][::-1] + [1]}},
        "no shape": lambda: {**header, name: {"dtype": "F32"}},
        "offsets beyond": lambda: {**header, name: {**entry, "data_offsets": [0, size + 100]}},
        "offsets huge": lambda: {**header, name: {**entry, "data_offsets": [0, 10**18]}},
        "offsets backwards": lambda: {**header, name: {**entry, "data_offsets": entry["data_offsets"][::-1]}},
        "dtype": lambda: {**header, name: {**entry, "dtype": rng.choice(("F16", "I64", "F8_E4M3", "X", "", "C64"))}},
        "unknown tensor": lambda: {**header, "more": {**entry}},
        "a tensor less": lambda: {key: one for key, one in header.items() if key != name},
        "no tensors": lambda: with_header({}, b""),
        "metadata of numbers": lambda: {**header, "__metadata__": {"a": 1}},
        "a list": lambda: with_header([], tensors),
        "deep": lambda: with_header(b'{"a":' * 5000 + b"1" + b"}" * 5000, tensors),
        "no UTF-8": lambda: with_header(json.dumps(header).encode().replace(name.encode(), b"\xff\xfe"), tensors),
        "twice": lambda: with_header(b'{"a":{},' + json.dumps(header).encode()[1:], tensors),
        "not a number": lambda: with_header(header, b"\xff" * size),
        "huge key": lambda: {**header, "x" * 100_000: entry},
        "spaces": lambda: with_header(json.dumps(header).encode() + b" " * 64, tensors),
    }
    what = rng.choice(list(odd))
    made = odd[what]()
    return what, made if isinstance(made, bytes) else with_header(made, tensors)


def odd_pickle(rng: random.Random, state: dict[str, torch.Tensor]) -> tuple[str, bytes]:
    """A file of torch.save that holds something odd."""
    some = next(iter(state))
    odd: dict[str, Any] = {
        "code": lambda: saved({"a": Runs()}, rng.random() < 0.5),
        "plain pickle": lambda: pickle.dumps({"a": Runs()}),
        "numbers": lambda: saved({"a": 1, "b": [2]}),
        "a list": lambda: saved([torch.zeros(2)]),
        "a tensor": lambda: saved(torch.zeros(2)),
        "nothing": lambda: saved({}),
        "none": lambda: saved(None, rng.random() < 0.5),
        "sparse": lambda: saved({**state, some: torch.eye(4).to_sparse()}),
        "meta": lambda: saved({**state, some: torch.zeros(3, device="meta")}),
        "complex": lambda: saved({**state, some: state[some].to(torch.complex64)}),
        "half": lambda: saved({name: one.half() for name, one in state.items()}),
        "whole numbers for names": lambda: saved({0: torch.zeros(2), 1: torch.zeros(2)}),
        "many": lambda: saved({f"layer.{number}": torch.zeros(1) for number in range(2000)}),
        "nested": lambda: saved({"model": {"state": state}}),
        "ordered": lambda: saved(OrderedDict(state)),
        "old": lambda: saved(state, old=True),
        "deep": lambda: pickle.dumps(_deep(400)),
        "expanded": lambda: saved({**state, some: torch.zeros(1).expand(10**9)}),
        "long names": lambda: saved({"x" * 10**6: torch.zeros(1)}),
        "control characters": lambda: saved({"\x1b[2J\n\u202e": torch.zeros(1)}),
        "a tar": lambda: _tar(),
        "another size": lambda: _other_storage(saved(state), rng),
        "a member less": lambda: _without(saved(state), rng),
        "old, cut": lambda: saved(state, old=True)[:-40],
        "huge storage": lambda: saved(state, old=True).replace(b"cpu", b"cpu", 1)[:200] + rng.randbytes(200),
    }
    what = rng.choice(list(odd))
    return what, odd[what]()


def _deep(depth: int) -> Any:
    return [_deep(depth - 1)] if depth else []


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return file.getvalue()


def _rewritten(content: bytes, change: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            if (member := change(name, old.read(name))) is not None:
                new.writestr(name, member)
    return file.getvalue()


def _other_storage(content: bytes, rng: random.Random) -> bytes:
    odd = rng.choice((b"", b"\0", bytes(10_000)))
    return _rewritten(content, lambda name, member: odd if "/data/" in name else member)


def _without(content: bytes, rng: random.Random) -> bytes:
    gone = rng.choice(("data.pkl", "/data/0", "version", "byteorder"))
    return _rewritten(content, lambda name, member: None if name.endswith(gone) else member)


def safetensors_case(rng: random.Random, folder: Path, valid: Valid) -> Case:
    """Weights of the fake method in safetensors."""
    content = valid.contents["safetensors"]
    what, odd = damaged(rng, content) if rng.random() < 0.5 else odd_safetensors(rng, content)
    return _case("safetensors", what, odd, folder, valid)


def pth_case(rng: random.Random, folder: Path, valid: Valid) -> Case:
    """The same as torch.save writes them."""
    what, odd = damaged(rng, valid.contents[rng.choice(("pth", "old pth"))])
    if rng.random() < 0.5:
        what, odd = odd_pickle(rng, torch.load(io.BytesIO(valid.contents["pth"]), weights_only=True))
    return _case("pth", what, odd, folder, valid)


def _case(kind: str, what: str, content: bytes, folder: Path, valid: Valid) -> Case:
    """A run of the fake method, whose weights are ``weights.KIND`` beside the sweep (tests.corpus.places), into a store
    that has its reference."""
    (folder / f"weights.{kind}").write_bytes(content)
    (folder / "small.toml").write_text(SWEEP.replace("[1, 2, 4]", "[1]"))
    return Case(kind, what, ["run", str(folder / "small.toml"), "--store", str(folder / "store"), "--workers", "0"])


def valid_networks(state: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """Valid files of all kinds."""
    return {"safetensors": save(state), "pth": saved(state), "old pth": saved(state, old=True)}
