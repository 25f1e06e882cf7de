"""Arrays of images: .npz as guided-diffusion writes it, what ``arbench reference build`` writes, and .npy."""

import io
import random
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.corpus.cases import Case, Valid
from tests.corpus.mutations import damaged

Array = NDArray[Any]
SHAPES = (
    "(1000000000000, 8, 8, 3)", "(16, 8, 8)", "(16, 8, 8, 4)", "(16, 8, 8, 2)", "(0, 8, 8, 3)", "(16, 0, 8, 3)", "()",
    "(-1, 8, 8, 3)", "(16, 8, 8, 3, 1)", "(3, 16, 8, 8)", "(16, 1048576, 1048576, 3)", "(1, 8, 8, 3)", "(15, 8, 8, 3)",
    "(17, 8, 8, 3)", "(True, 8, 8, 3)", "(1.0, 8, 8, 3)", "(9223372036854775808, 8, 8, 3)", "([16], 8, 8, 3)",
)  # fmt: skip
DTYPES = ("|i1", "<u2", "<f4", "<f8", "|b1", "|O", "<M8[s]", "|V3", "<U5", "|S3", ">u2", "[('a', '|u1')]", "nonsense")


def pictures(seed: int, count: int = 16, side: int = 8) -> NDArray[np.uint8]:
    """uint8 [count, side, side, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def npy(array: Array, **options: Any) -> bytes:
    """The bytes of an .npy file."""
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(arrays: Mapping[str, Array | bytes], compressed: bool = False) -> bytes:
    """The bytes of an .npz file; bytes are members as they are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as pack:
        for name, array in arrays.items():
            pack.writestr(f"{name}.npy", array if isinstance(array, bytes) else npy(array))
    return file.getvalue()


def header(shape: str, dtype: str = "|u1", fortran: str = "False", version: bytes = b"\x01\0") -> bytes:
    """The header of an .npy file of version 1."""
    described = dtype if dtype.startswith("[") else f"'{dtype}'"
    text = f"{{'descr': {described}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    padded = text.ljust(-(10 + len(text) + 1) % 64 + len(text)) + "\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(padded)) + padded.encode()


def odd_member(rng: random.Random) -> tuple[str, bytes]:
    """An .npy file that is whole but odd: what is odd about it, and its bytes."""
    images = pictures(1)
    odd: dict[str, Any] = {
        "shape": lambda: header(rng.choice(SHAPES)) + images.tobytes(),
        "dtype": lambda: header("(16, 8, 8, 3)", rng.choice(DTYPES)) + images.tobytes() * 8,
        "order": lambda: npy(np.asfortranarray(images)),
        "order in words": lambda: header("(16, 8, 8, 3)", fortran=rng.choice(("1", "None", "'x'"))) + images.tobytes(),
        "version": lambda: (
            header("(16, 8, 8, 3)", version=rng.choice((b"\x02\0", b"\x03\0", b"\x09\0", b"\0\0"))) + images.tobytes()
        ),
        "pickle": lambda: npy(np.array([print, {}], dtype=object), allow_pickle=True),
        "floats": lambda: npy((images / 255).astype(rng.choice((np.float32, np.float64, np.float16)))),
        "not a number": lambda: npy(np.full((16, 8, 8, 3), np.nan, np.float32)),
        "integers": lambda: npy(images.astype(rng.choice((np.int64, np.uint16, np.int8)))),
        "grey": lambda: npy(images[..., :1]),
        "transparency": lambda: npy(np.concatenate([images, images[..., :1]], axis=-1)),
        "channels first": lambda: npy(images.transpose(0, 3, 1, 2)),
        "one image": lambda: npy(images[:1]),
        "no image": lambda: npy(images[:0]),
        "a long header": lambda: header("(16, 8, 8, 3)" + " " * 60000)[:65000] + images.tobytes(),
        "code in the header": lambda: header("__import__('os').system('false')") + images.tobytes(),
        "a deep header": lambda: header("(" * 9000 + ")" * 9000) + images.tobytes(),
        "one colour": lambda: npy(np.zeros_like(images)),
        "twice the same": lambda: npy(np.repeat(images[:8], 2, axis=0)),
        "a byte more": lambda: npy(images) + b"\0",
        "a byte less": lambda: npy(images)[:-1],
    }
    what = rng.choice(list(odd))
    return what, odd[what]()


def odd_zip(rng: random.Random) -> tuple[str, bytes]:
    """An .npz whose zip is odd."""
    content = npz({"arr_0": pictures(1)}, compressed=rng.random() < 0.5)
    place = content.rfind(b"PK\x01\x02")
    changes = {
        "encrypted": (8, b"\x01\0"), "method": (10, struct.pack("<H", rng.choice((1, 9, 12, 14, 97, 99)))),
        "huge size": (24, b"\xff\xff\xff\x7f"), "huge packed size": (20, b"\xff\xff\xff\x7f"),
        "zip64 without": (24, b"\xff\xff\xff\xff"), "crc": (16, rng.randbytes(4)), "offset": (42, rng.randbytes(4)),
        "name length": (28, b"\xff\xff"), "flags": (8, rng.randbytes(2)), "version": (6, b"\xff\xff"),
    }  # fmt: skip
    what = rng.choice([*changes, "twice", "bomb", "a folder", "no array", "other key", "many", "utf-8 name", "comment"])
    if what in changes:
        start, new = changes[what]
        return what, content[: place + start] + new + content[place + start + len(new) :]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack:
        match what:
            case "twice":
                pack.writestr("arr_0.npy", npy(pictures(1)))
                pack.writestr("arr_1.npy", npy(pictures(2)))
                pack.writestr("x/arr_0.npy", npy(pictures(3)))
            case "bomb":
                with pack.open("arr_0.npy", "w", force_zip64=True) as member:
                    member.write(header("(1000000, 8, 8, 3)"))
                    for _ in range(8):
                        member.write(bytes(2**20))
            case "a folder":
                pack.writestr("arr_0.npy/", b"")
            case "other key":
                pack.writestr("images.npy", npy(pictures(1)))
            case "many":
                for number in range(3000):
                    pack.writestr(f"arr_{number}.npy", b"")
            case "utf-8 name":
                pack.writestr("arr_0\u202e.npy", npy(pictures(1)))
            case "comment":
                pack.comment = b"x" * 60000
                pack.writestr("arr_0.npy", npy(pictures(1)))
    return what, file.getvalue()


def odd_statistics(rng: random.Random) -> tuple[str, bytes]:
    """guided-diffusion's .npz with statistics that are odd."""
    rank = 16
    mu, sigma = np.zeros(rank), np.eye(rank)
    odd: dict[str, Any] = {
        "nan": lambda: {"mu": mu, "sigma": sigma * np.nan},
        "infinite": lambda: {"mu": mu + np.inf, "sigma": sigma},
        "negative": lambda: {"mu": mu, "sigma": -sigma},
        "not symmetric": lambda: {"mu": mu, "sigma": np.triu(np.ones((rank, rank)))},
        "another width": lambda: {"mu": mu[:5], "sigma": sigma[:5, :5]},
        "no sigma": lambda: {"mu": mu},
        "no mu": lambda: {"sigma": sigma},
        "not square": lambda: {"mu": mu, "sigma": sigma[:, :3]},
        "texts": lambda: {"mu": np.array(["x"] * rank), "sigma": sigma},
        "numbers": lambda: {"mu": np.array(1.0), "sigma": np.array(1.0)},
        "complex": lambda: {"mu": mu + 1j, "sigma": sigma},
        "spatial alone": lambda: {"mu_s": np.zeros(8), "sigma_s": np.eye(8)},
        "spatial odd": lambda: {"mu": mu, "sigma": sigma, "mu_s": np.zeros(8), "sigma_s": np.eye(9)},
        "whole numbers": lambda: {"mu": mu.astype(int), "sigma": sigma.astype(int)},
        "images, too": lambda: {"mu": mu, "sigma": sigma, "arr_0": pictures(1)},
        "pickled": lambda: {"mu": npy(np.array([{}], dtype=object), allow_pickle=True), "sigma": sigma},
        "about that is none": lambda: {"mu": mu, "sigma": sigma, "about": np.array(rng.choice(("", "[]", "{}", "{")))},
    }
    what = rng.choice(list(odd))
    return what, npz(odd[what]())


def npz_case(rng: random.Random, folder: Path, valid: Valid) -> Case:
    """An .npz as samples, as reference, or to be built a reference of."""
    way = rng.random()
    if way < 0.4:
        what, content = damaged(rng, valid.contents[rng.choice(("npz", "npz", "packed npz"))])
    elif way < 0.6:
        what, member = odd_member(rng)
        content = npz({"arr_0": member}, compressed=rng.random() < 0.5)
    elif way < 0.75:
        what, content = odd_zip(rng)
    elif way < 0.88:
        what, content = damaged(rng, valid.contents[rng.choice(("reference", "statistics"))])
        what = f"reference: {what}"
    else:
        what, content = odd_statistics(rng)
        what = f"statistics: {what}"
    return _case("npz", what, content, rng, folder, valid)


def npy_case(rng: random.Random, folder: Path, valid: Valid) -> Case:
    """The same as an .npy file."""
    what, content = damaged(rng, valid.contents["npy"]) if rng.random() < 0.5 else odd_member(rng)
    return _case("npy", what, content, rng, folder, valid)


def _case(kind: str, what: str, content: bytes, rng: random.Random, folder: Path, valid: Valid) -> Case:
    path = folder / f"odd.{kind}"
    path.write_bytes(content)
    usual = str(valid.folder / "samples.npz")
    way = rng.random()
    if ":" in what or way < 0.35:
        return Case(kind, what, ["score", usual, "--reference", str(path)])
    if way < 0.85:
        return Case(kind, what, ["score", str(path), "--reference", str(valid.folder / "reference.npz")])
    return Case(kind, what, ["reference", "build", str(path), "--out", str(folder / "built.npz")])
