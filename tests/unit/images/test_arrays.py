"""Files of arrays: damaged in every way they are one line, and never a pickle, a traceback or a wrong image."""

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.cli.command import main
from harness.errors import ArbenchError
from harness.images.arrays import ArrayFile
from harness.images.reading import Reading
from harness.images.samples import open_samples
from harness.stages.quality.reference_files import open_reference

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)


def packed(path: Path, method: int = zipfile.ZIP_DEFLATED, **arrays: NDArray[Any]) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array)
    return path


def read(path: Path, key: str | None = None) -> NDArray[np.uint8]:
    found = [batch.numpy() for batch in open_samples(path, Reading(key=key)).batches(4)]
    return np.concatenate(found).transpose(0, 2, 3, 1)


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_every_packing_of_zip_is_read(method: int, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(packed(tmp_path / "x.npz", method, arr_0=IMAGES)), IMAGES)


@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_npz_is_right_or_one_line(method: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(method)
    whole = packed(tmp_path / "whole.npz", method, arr_0=IMAGES, labels=np.arange(6)).read_bytes()
    path, told = tmp_path / "damaged.npz", 0
    for place in range(120):
        content = bytearray(whole)
        if place % 4 == 0:
            del content[int(rng.integers(len(whole))) :]
        elif place % 4 == 1:  # the directory, where sizes, flags and methods are
            content[len(whole) - 1 - int(rng.integers(200))] = int(rng.integers(256))
        elif place % 4 == 2:  # the headers of zip and array
            content[int(rng.integers(160))] = int(rng.integers(256))
        else:
            content[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            found = read(path)
        except ArbenchError as error:
            told += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            np.testing.assert_array_equal(found, IMAGES)
    assert told > 60


def flag(path: Path, name: bytes, at: int, value: bytes) -> None:
    """Change a field of a member's entry in the directory, and of its own header 2 bytes before."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(name))
    content[entry + at : entry + at + len(value)] = value
    content[at - 2 : at - 2 + len(value)] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (8, b"\x01\x00", "encrypted"),
        (10, b"\x63\x00", "compression method"),
        (16, b"\x00\x00\x00\x01", "Bad CRC-32"),
        (24, struct.pack("<I", 200), "Bad CRC-32"),
        (24, struct.pack("<I", 4_000_000), "cut short|bytes more follow"),
    ],
)
def test_flags_methods_checksums_and_sizes_of_the_zip_are_told(
    at: int, value: bytes, words: str, tmp_path: Path
) -> None:
    path = packed(tmp_path / "x.npz", zipfile.ZIP_STORED if at == 24 else zipfile.ZIP_DEFLATED, arr_0=IMAGES)
    flag(path, b"arr_0.npy", at, value)
    with pytest.raises(ArbenchError, match=words):
        read(path)


def member(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", content)
    return path


def header(text: str) -> bytes:
    content = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "arr_0 is no NumPy array: it is an empty file"),
        (b"\x89PNG\r\n\x1a\n", "arr_0 is no NumPy array: it is a PNG image"),
        (b"\x93NUMPY\x09\x00", "its header is damaged"),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2, 3)}") + bytes(11), "is cut short"),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2, 3)}") + bytes(13), "1 bytes more follow"),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 2, 2, 3)}"), "its header is damaged"),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (10**11, 2, 2, 3)}"), "its header is damaged"),
        (
            header("{'descr': '|u1', 'fortran_order': False, 'shape': (100000000000, 2, 2, 3)}") + bytes(12),
            "is cut short",
        ),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + b"\x80\x04N.", "never loaded"),
        (header("__import__('os').system('true')"), "its header is damaged"),
        (header("(" * 5000), "its header is damaged"),
    ],
)
def test_what_a_member_is_and_lacks_is_told(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(ArbenchError, match=words):
        read(member(tmp_path / "x.npz", content))


def test_a_bomb_is_told_before_memory_is_taken(tmp_path: Path) -> None:
    text = header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000, 3)}")
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", text)
    with pytest.raises(ArbenchError, match="is cut short"):
        read(tmp_path / "x.npz")


def test_a_wrong_key_says_which_keys_there_are(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.npz", images=IMAGES, labels=np.arange(6))
    with pytest.raises(ArbenchError, match=r"holds no array arr_0 \(it holds images, labels\)"):
        read(path)
    with pytest.raises(ArbenchError, match=r"holds no array samples \(it holds images, labels\)"):
        read(path, "samples")
    np.testing.assert_array_equal(read(path, "images"), IMAGES)


def test_fortran_order_is_refused_by_its_name(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.npz", arr_0=np.asfortranarray(IMAGES))
    with pytest.raises(ArbenchError, match=r"Fortran order, which is not read \(np.ascontiguousarray") as caught:
        read(path)
    assert "valid" not in str(caught.value)


def test_an_npy_is_read_too(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    np.testing.assert_array_equal(read(tmp_path / "x.npy"), IMAGES)
    (tmp_path / "x.npy").rename(tmp_path / "called.npz")
    np.testing.assert_array_equal(read(tmp_path / "called.npz"), IMAGES)
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    with pytest.raises(ArbenchError, match="never loaded"):
        read(tmp_path / "objects.npy")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "called.npz").read_bytes()[:-1])
    with pytest.raises(ArbenchError, match="cut.npy is cut short"):
        read(tmp_path / "cut.npy")


def tarred(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid x\n"), "a Git LFS pointer"),
        (lambda path: path.write_text("<!DOCTYPE html><title>Sign in</title>"), "an HTML page"),
        (lambda path: path.write_text('{"error": 404}'), "a JSON file"),
        (tarred, "a gzip file: unpack it first"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "a PNG image: give the folder"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(30)), "cut short: its directory"),
    ],
)
def test_what_lies_in_place_of_an_npz_is_told_by_the_command(
    write: Callable[[Path], Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "x.npz")
    assert main(["score", str(tmp_path / "x.npz"), "--reference", str(tmp_path / "y.npz")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("arbench: ") and words in line


def test_a_damaged_reference_is_one_line(tmp_path: Path) -> None:
    statistics = {"mu": np.zeros(2048), "sigma": np.eye(2048)}
    np.savez(tmp_path / "half.npz", mu=statistics["mu"])
    with pytest.raises(ArbenchError, match=r"half.npz lacks sigma \(it holds mu\)"):
        open_reference(tmp_path / "half.npz", None, 5)  # type: ignore[arg-type]  # the extractor is not asked
    np.savez(tmp_path / "about.npz", about=np.array("no JSON"), **statistics)  # type: ignore[arg-type]
    with pytest.raises(ArbenchError, match="'about' is not one of 'arbench reference build'"):
        open_reference(tmp_path / "about.npz", None, 5)  # type: ignore[arg-type]
    np.savez(tmp_path / "none.npz", labels=np.arange(3))
    with pytest.raises(ArbenchError, match=r"neither images \(arr_0\) nor statistics \(mu, sigma\); it holds labels"):
        open_reference(tmp_path / "none.npz", None, 5)  # type: ignore[arg-type]
    path = tmp_path / "damaged.npz"
    np.savez_compressed(path, **statistics)  # type: ignore[arg-type]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(ArbenchError, match="damaged"):
        open_reference(path, None, 5)  # type: ignore[arg-type]


def test_a_zip_behind_something_else_is_no_npz(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.npz", arr_0=IMAGES)
    path.write_bytes(b"<!DOCTYPE html>" + path.read_bytes())
    with pytest.raises(ArbenchError, match="it is a file of an unknown kind, no .npz"):
        read(path)


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("arr_0.npy", b"")
        archive.writestr("arr_0", b"")
    with pytest.raises(ArbenchError, match="two arrays called arr_0"):
        ArrayFile(tmp_path / "x.npz")
