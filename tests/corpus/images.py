"""Pictures: PNG, JPEG and TIFF in a folder, and tars of them as WebDataset writes them."""

import io
import os
import random
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.corpus.arrays import pictures
from tests.corpus.cases import Case, Valid
from tests.corpus.mutations import damaged

SUFFIX = {"png": "png", "jpeg": "jpg", "tiff": "tif"}
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16", "HSV", "LAB", "PA")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file of a kind; in RGB where the kind does not take its mode."""
    for one in (image, image.convert("RGB")):
        file = io.BytesIO()
        try:
            one.save(file, {"png": "PNG", "jpeg": "JPEG", "tiff": "TIFF"}[kind], **options)
        except (OSError, ValueError, KeyError):
            continue
        return file.getvalue()
    raise AssertionError(kind)


def picture(seed: int = 5, side: int = 8) -> Image.Image:
    """One picture of the usual size."""
    return Image.fromarray(pictures(seed, 1, side)[0])


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(
    width: int, height: int, depth: int = 8, colour: int = 2, data: bytes | None = None, more: bytes = b""
) -> bytes:
    """A PNG that says of itself what is asked, whatever it holds."""
    rows = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(8))) if data is None else data
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def odd_png(rng: random.Random) -> tuple[str, bytes]:
    """A PNG that is whole but odd."""
    big = zlib.compress(bytes(50_000_000), 9)
    odd: dict[str, Callable[[], bytes]] = {
        "huge": lambda: png(2**31 - 1, 2**31 - 1),
        "wide": lambda: png(rng.choice((10**6, 2**31 - 1)), 1),
        "no size": lambda: png(0, 8),
        "another size": lambda: png(9, 8),
        "depth": lambda: png(8, 8, rng.choice((1, 2, 4, 16, 7, 0)), rng.choice((0, 2, 3, 4, 6, 5))),
        "no palette": lambda: png(8, 8, 8, 3),
        "no data": lambda: png(8, 8, data=b""),
        "damaged data": lambda: png(8, 8, data=rng.randbytes(80)),
        "too little data": lambda: png(8, 8, data=zlib.compress(bytes(60))),
        "too much data": lambda: png(8, 8, data=big),
        "a bomb of text": lambda: png(8, 8, more=chunk(b"zTXt", b"a\0\0" + big)),
        "a bomb of profile": lambda: png(8, 8, more=chunk(b"iCCP", b"a\0\0" + big)),
        "many texts": lambda: png(8, 8, more=chunk(b"tEXt", b"a\0" + b"x" * 1000) * 3000),
        "exif": lambda: png(8, 8, more=chunk(b"eXIf", rng.randbytes(60))),
        "animation": lambda: png(8, 8, more=chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
        "unknown part": lambda: png(8, 8, more=chunk(b"ABCD", b"x")),
        "16 bits": lambda: encoded(Image.fromarray((np.arange(64).reshape(8, 8) * 1000).astype(np.uint16)), "png"),
        "transparent": lambda: encoded(picture().convert("P"), "png", transparency=0),
        "mode": lambda: encoded(picture().convert(rng.choice(("1", "L", "LA", "P", "RGBA"))), "png"),
    }
    what = rng.choice(list(odd))
    return what, odd[what]()


def odd_jpeg(rng: random.Random) -> tuple[str, bytes]:
    """A JPEG that is whole but odd."""
    usual = encoded(picture(), "jpeg")
    start = usual.find(b"\xff\xc0")
    odd: dict[str, Callable[[], bytes]] = {
        "huge": lambda: usual[: start + 5] + b"\xff\xff\xff\xff" + usual[start + 9 :],
        "no size": lambda: usual[: start + 5] + bytes(4) + usual[start + 9 :],
        "components": lambda: usual[: start + 9] + bytes([rng.choice((0, 2, 4, 255))]) + usual[start + 10 :],
        "no end": lambda: usual[:-2],
        "grey": lambda: encoded(picture().convert("L"), "jpeg"),
        "CMYK": lambda: encoded(picture().convert("CMYK"), "jpeg"),
        "progressive": lambda: encoded(picture(), "jpeg", progressive=True),
        "turned": lambda: encoded(
            picture(), "jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
        ),
        "odd exif": lambda: encoded(picture(), "jpeg", exif=b"Exif\0\0II*\0" + rng.randbytes(40)),
        "comments": lambda: usual[:2] + (b"\xff\xfe\xff\xff" + b"x" * 65533) * 20 + usual[2:],
        "two in one": lambda: usual + usual,
        "another size": lambda: encoded(picture(side=16), "jpeg"),
    }
    what = rng.choice(list(odd))
    return what, odd[what]()


def tiff_entries(*entries: tuple[int, int, int, int], after: int = 0, data: bytes = b"") -> bytes:
    """A TIFF of one directory: tag, type, count, value; ``after``: where the next directory is."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + struct.pack("<I", after) + data


def odd_tiff(rng: random.Random) -> tuple[str, bytes]:
    """A TIFF that is whole but odd."""
    size = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 150)]
    rest = [(277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, 64)]
    odd: dict[str, Callable[[], bytes]] = {
        "mode": lambda: encoded(picture().convert(rng.choice(("1", "L", "LA", "P", "RGBA", "CMYK", "I", "F"))), "tiff"),
        "16 bits": lambda: encoded(Image.fromarray((np.arange(64).reshape(8, 8) * 1000).astype(np.uint16)), "tiff"),
        "floats": lambda: encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "tiff"),
        "pages": lambda: encoded(picture(), "tiff", save_all=True, append_images=[picture(6)]),
        "compressed": lambda: encoded(picture(), "tiff", compression=rng.choice(("tiff_lzw", "tiff_deflate"))),
        "loop": lambda: tiff_entries(*size, *rest, after=8, data=bytes(200)),
        "huge": lambda: tiff_entries((256, 4, 1, 2**31 - 1), (257, 4, 1, 2**31 - 1), *size[2:], *rest, data=bytes(200)),
        "many values": lambda: tiff_entries(*size, (279, 4, 2**32 - 1, 20), data=bytes(200)),
        "beyond the end": lambda: tiff_entries(*size[:5], (273, 4, 1, 10**9), *rest, data=bytes(200)),
        "no strips": lambda: tiff_entries(*size[:5], data=bytes(200)),
        "compression": lambda: tiff_entries(
            *size[:3], (259, 3, 1, rng.randrange(40000)), *size[4:], *rest, data=bytes(200)
        ),
        "bits": lambda: tiff_entries(*size[:2], (258, 3, 1, rng.randrange(70)), *size[3:], *rest, data=bytes(200)),
        "whole": lambda: tiff_entries(*size, *rest, data=bytes(200)),
        "another size": lambda: encoded(picture(side=16), "tiff"),
    }  # fmt: skip
    what = rng.choice(list(odd))
    return what, odd[what]()


ODD = {"png": odd_png, "jpeg": odd_jpeg, "tiff": odd_tiff}


def odd_place(rng: random.Random, path: Path) -> str:
    """What is no picture under a picture's name, or is hidden."""
    what = rng.choice(("folder", "link to nothing", "link to itself", "pipe", "hidden", "odd name", "text", "nested"))
    match what:
        case "folder":
            path.mkdir()
        case "link to nothing":
            path.symlink_to(path.parent / "gone")
        case "link to itself":
            path.symlink_to(path)
        case "pipe":
            os.mkfifo(path)
        case "hidden":
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
        case "odd name":
            Path(os.fsdecode(bytes(path.parent) + b"/caf\xe9" + path.suffix.encode())).write_bytes(b"\xff")
        case "text":
            path.write_text("a picture, once")
        case "nested":
            deep = path.parent / "/".join(["x"] * 60)
            deep.mkdir(parents=True)
            (deep / path.name).write_bytes(b"")
    return what


def picture_case(kind: str) -> Callable[[random.Random, Path, Valid], Case]:
    """Cases of one kind of picture: a folder of eight, one of which is odd."""

    def case(rng: random.Random, folder: Path, valid: Valid) -> Case:
        inside = folder / "images"
        inside.mkdir()
        for number in range(7):
            (inside / f"{number}.{SUFFIX[kind]}").write_bytes(encoded(picture(number), kind))
        path, way = inside / f"{rng.choice('07')}odd.{SUFFIX[kind]}", rng.random()
        if way < 0.08:
            what = odd_place(rng, path)
        else:
            what, content = damaged(rng, valid.contents[kind]) if way < 0.55 else ODD[kind](rng)
            path.write_bytes(content)
        return _scored(kind, what, inside, rng, folder, valid)

    return case


def tar_case(rng: random.Random, folder: Path, valid: Valid) -> Case:
    """A WebDataset tar."""
    way = rng.random()
    if way < 0.5:
        what, content = damaged(rng, valid.contents["tar"])
    else:
        what, content = odd_tar(rng)
    path = folder / "odd.tar"
    path.write_bytes(content)
    return _scored("tar", what, path, rng, folder, valid)


def tar(members: dict[str, bytes], **options: Any) -> bytes:
    """The bytes of a tar."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=options.pop("mode", "w"), **options) as pack:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            pack.addfile(member, io.BytesIO(content))
    return file.getvalue()


def shots() -> dict[str, bytes]:
    """Members of a usual tar."""
    return {f"{number:04}.png": encoded(picture(number), "png") for number in range(8)}


def odd_tar(rng: random.Random) -> tuple[str, bytes]:
    """A tar that is whole but odd."""
    usual = shots()
    kind = rng.choice(("png", "jpeg"))
    odd: dict[str, Callable[[], bytes]] = {
        "an odd picture": lambda: tar({**usual, f"0003.{kind}": ODD[kind](rng)[1]}),
        "a damaged picture": lambda: tar({**usual, "0003.png": damaged(rng, usual["0003.png"])[1]}),
        "labels beside": lambda: tar({**usual, **{f"{number:04}.cls": b"3" for number in range(8)}}),
        "no pictures": lambda: tar({"a.txt": b"x"}),
        "nothing": lambda: tar({}),
        "paths outside": lambda: tar({**usual, "../../outside.png": usual["0003.png"]}),
        "absolute paths": lambda: tar({**usual, "/tmp/outside.png": usual["0003.png"]}),
        "twice the same name": lambda: tar(usual) [:-10240] + tar(usual),
        "links": lambda: _with_links(usual, rng),
        "a huge member": lambda: _resized(tar(usual), rng.choice((b"77777777777", b"\x80\0\0\0" + b"\xff" * 7))),
        "a negative member": lambda: _resized(tar(usual), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        "compressed": lambda: tar(usual, mode=f"w:{rng.choice(('gz', 'bz2', 'xz'))}"),
        "compressed, cut": lambda: tar(usual, mode="w:gz")[:-50],
        "pax": lambda: tar(usual, format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 100_000}),
        "odd names": lambda: tar({"caf\udce9.png": usual["0003.png"], "a\n\x1b[2J.png": usual["0001.png"], **usual}),
        "hidden": lambda: tar({**usual, "._0003.png": b"\0\5\26\7"}),
        "another size": lambda: tar({**usual, "0009.png": encoded(picture(side=16), "png")}),
        "other endings": lambda: tar({**usual, "0009.webp": b"RIFF", "0010.bmp": b"BM"}),
        "several pictures of one": lambda: tar({**usual, "0003.seg.png": usual["0001.png"]}),
        "an empty picture": lambda: tar({**usual, "0003.png": b""}),
    }  # fmt: skip
    what = rng.choice(list(odd))
    return what, odd[what]()


def _with_links(members: dict[str, bytes], rng: random.Random) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as pack:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            pack.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("link.png")
        link.type = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE))
        link.linkname = rng.choice(("/etc/passwd", "link.png", "0001.png", "../x"))
        pack.addfile(link)
    return file.getvalue()


def _resized(content: bytes, size: bytes) -> bytes:
    """The first member said to be of another size, with a checksum that fits."""
    head = bytearray(content[:512])
    head[124 : 124 + len(size)] = size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + content[512:]


def _scored(kind: str, what: str, path: Path, rng: random.Random, folder: Path, valid: Valid) -> Case:
    way = rng.random()
    if way < 0.7:
        return Case(kind, what, ["score", str(path), "--reference", str(valid.folder / "reference.npz")])
    if way < 0.85:
        return Case(kind, what, ["score", str(valid.folder / "samples.npz"), "--reference", str(path)])
    return Case(kind, what, ["reference", "build", str(path), "--out", str(folder / "built.npz")])
