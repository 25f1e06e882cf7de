"""Damage to bytes, whatever they mean."""

import random
from collections.abc import Callable

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 132735\n"
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in</body></html>\n"
INSTEAD: tuple[bytes, ...] = (
    b"", b"\0", b"\n", LFS, HTML, b"\xef\xbb\xbf", b"\xff\xfe", bytes(1000), b"\xff" * 1000, b"PK\x03\x04",
    b"PK\x05\x06" + bytes(18), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0\x08\0\0\0", b"MM\0*\xff\xff\xff\xff",
    b"\x93NUMPY\x01\0v\0{'descr': '|u1'", b"\x80\x02}q\0.", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
    b"{}", b"[]", b"null", b"{" * 3000, b"[" * 100_000, b"\x1f\x8b\x08\0", b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    b"GIF89a\xff\xff\xff\xff\xf7\0\0", b"BM" + b"\xff" * 60, b"ustar\0" * 100, b"%PDF-1.4\n", b"\x7fELF" + bytes(60),
    (10**12).to_bytes(8, "little") + b"{}", b"not what was asked for\n" * 50,
)  # fmt: skip
"""Files in place of what was expected."""
SIZES = (0, 1, 2**31 - 1, 2**32 - 1, 10**12, 2**63 - 1, 2**64 - 1)

Damage = Callable[[random.Random, bytes], bytes]


def flip(rng: random.Random, content: bytes) -> bytes:
    """One to eight bits turned over."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_early(rng: random.Random, content: bytes) -> bytes:
    """A byte of the header replaced."""
    changed = bytearray(content)
    changed[rng.randrange(min(200, len(changed)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed)


def flip_late(rng: random.Random, content: bytes) -> bytes:
    """A byte near the end replaced: where zip has its directory."""
    changed = bytearray(content)
    changed[-1 - rng.randrange(min(120, len(changed)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed)


def cut(rng: random.Random, content: bytes) -> bytes:
    """The end is missing."""
    return content[: rng.choice((rng.randrange(len(content)), len(content) - 1, len(content) // 2, 8, 4))]


def splice(rng: random.Random, content: bytes) -> bytes:
    """A piece taken out, or put in twice."""
    start, length = rng.randrange(len(content)), rng.randrange(1, 200)
    return content[:start] + (content[start + length :] if rng.random() < 0.5 else content[max(0, start - length) :])


def zero(rng: random.Random, content: bytes) -> bytes:
    """A block of zeros, or of ones, as a bad disk leaves it."""
    start, length = rng.randrange(len(content)), rng.choice((1, 4, 64, 512))
    fill = rng.choice((b"\0", b"\xff")) * min(length, len(content) - start)
    return content[:start] + fill + content[start + len(fill) :]


def append(rng: random.Random, content: bytes) -> bytes:
    """More than the whole file."""
    return content + rng.choice((b"\0", b"\n", bytes(1000), content, HTML, rng.randbytes(300)))


def prepend(rng: random.Random, content: bytes) -> bytes:
    """Something before the file: a mark, a header of HTTP."""
    return rng.choice((b"\xef\xbb\xbf", b"\n", b"HTTP/1.1 200 OK\r\n\r\n", bytes(100))) + content


def other_magic(rng: random.Random, content: bytes) -> bytes:
    """The beginning of another kind of file."""
    magic = rng.choice([one[:8] for one in INSTEAD if len(one) > 2])
    return magic + content[len(magic) :]


def other_size(rng: random.Random, content: bytes) -> bytes:
    """A number of four or eight bytes replaced by a huge one."""
    width, order = rng.choice((4, 8)), rng.choice(("little", "big"))
    start = rng.randrange(max(1, min(300, len(content) - width)))
    number = rng.choice([size for size in SIZES if size < 2 ** (8 * width)])
    return content[:start] + number.to_bytes(width, order) + content[start + width :]  # type: ignore[arg-type]


def another_file(rng: random.Random, content: bytes) -> bytes:
    """Another file in place of this one."""
    return rng.choice(INSTEAD)


ANY: tuple[Damage, ...] = (
    flip, flip, flip_early, flip_late, cut, splice, zero, append, prepend, other_magic, other_size, another_file,
)  # fmt: skip


def damaged(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """A file with one kind of damage: its name, and the bytes."""
    how = rng.choice(ANY)
    return how.__name__.replace("_", " "), how(rng, content)
