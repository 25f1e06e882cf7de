"""Names the kind of a file from its first bytes. If a file is not of the expected kind, the error message says what the
file is: ``f"cannot read weights {path}: it is {what_is(path)}, no safetensors file"``.
"""

import tarfile
from pathlib import Path

READ = 4096
"""Number of bytes that are read from the start of a file. They are enough for a tar header, the start of a safetensors
header, and the head of any HTML page."""
LFS = "a Git LFS pointer (the file itself was not fetched: git lfs pull)"
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs.github.com/spec/", LFS),
    (b"version https://hawser.github.com/spec/", LFS),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"BM", "a BMP image"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file"),
    (b"\x7fELF", "a program (ELF)"),
    (b"%PDF-", "a PDF document"),
    (b"\x8a\n", "a protocol buffer (a TFRecord or TensorFlow checkpoint?)"),
)
"""The first bytes of each kind of file, and its name in messages."""
EMPTY, TEXT, UNKNOWN = "an empty file", "a text file", "a file of an unknown kind"
NPZ, TORCH, ZIP = "a NumPy archive (.npz)", "a file of torch.save", "a zip archive"
PICKLE, SAFETENSORS, TAR = "a pickle (torch.save of before 2020, perhaps)", "a safetensors file", "a tar archive"
HTML, JSON, XML = "an HTML page (the answer of a web server, perhaps a login or an error)", "a JSON file", "an XML file"
FOLDER = "a folder"


def what_is(path: Path) -> str:
    """What a file is, as a noun with its article: "a Git LFS pointer", "a PNG image", "an empty file". Never raises:
    a file that cannot be opened is "a file that cannot be read"."""
    try:
        if path.is_dir():
            return FOLDER
        with path.open("rb") as file:
            return kind_of(file.read(READ), path.stat().st_size)
    except OSError:
        return "a file that cannot be read"


def kind_of(head: bytes, size: int | None = None) -> str:
    """The same as ``what_is``, from the file's bytes.

    head: the file's first READ bytes, or all bytes of a shorter file.
    size: size of the whole file in bytes, if the size is known.
    """
    if not head:
        return EMPTY
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"):
        return _zip(head)
    for start, words in SIGNATURES:
        if head.startswith(start):
            return words
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP image"
    if _is_safetensors(head, size):
        return SAFETENSORS
    if _is_tar(head):
        return TAR
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return PICKLE
    return _text(head)


def _zip(head: bytes) -> str:
    """Says which kind of zip file a file is: .npz, saved by torch, or other. The name of the first member decides."""
    length = int.from_bytes(head[26:28], "little")
    name = head[30 : 30 + length]
    if name.endswith(b".npy"):
        return NPZ
    if name.endswith((b"data.pkl", b"/.format_version", b"/byteorder", b"/.data/serialization_id")):
        return TORCH
    return ZIP


def _is_safetensors(head: bytes, size: int | None) -> bool:
    """Whether the file begins as safetensors files do. The first eight bytes of such a file hold the length of a
    header. The header follows; it is a JSON object."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 9 and head[8:9] == b"{" and 2 <= length <= 100_000_000 and (size is None or length + 8 <= size)


def _is_tar(head: bytes) -> bool:
    """Whether the file begins with a tar header whose checksum is right. Formats older than ``ustar`` count as well."""
    if len(head) < tarfile.BLOCKSIZE or not any(head[: tarfile.BLOCKSIZE]):
        return False
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _text(head: bytes) -> str:
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(head) < READ or error.start < len(head) - 4:  # otherwise ``head`` ends within a character
            return UNKNOWN
        text = head[: error.start].decode("utf-8-sig")
    start = text.lstrip()[:200].lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")) or "<html" in start:
        return HTML
    if start.startswith("<?xml"):
        return XML
    if start.startswith(("{", "[")):
        return JSON
    return UNKNOWN if any(ord(c) < 32 and c not in "\t\n\r\f\x1b" for c in text) else TEXT
