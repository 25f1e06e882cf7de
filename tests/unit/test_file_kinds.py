"""A file given in place of another is called what it is."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from harness import file_kinds
from harness.file_kinds import kind_of, what_is


def saved(path: Path, kind: str) -> Path:
    """A file of a kind, as its own library writes it."""
    if kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"):
        Image.new("RGB", (4, 4)).save(path, kind)
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, arr_0=np.zeros(3))
    elif kind == "torch":
        torch.save({"a": torch.zeros(2)}, path)
    elif kind == "old torch":
        torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    elif kind == "safetensors":
        save_file({"a": np.zeros(3)}, path)
    elif kind in ("tar", "old tar"):
        form = tarfile.PAX_FORMAT if kind == "tar" else tarfile.USTAR_FORMAT
        with tarfile.open(path, "w", format=form) as archive:
            archive.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "x")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("PNG", "a PNG image"),
        ("JPEG", "a JPEG image"),
        ("GIF", "a GIF image"),
        ("TIFF", "a TIFF image"),
        ("BMP", "a BMP image"),
        ("WEBP", "a WebP image"),
        ("npy", "a NumPy array (.npy)"),
        ("npz", file_kinds.NPZ),
        ("torch", file_kinds.TORCH),
        ("old torch", file_kinds.PICKLE),
        ("safetensors", file_kinds.SAFETENSORS),
        ("tar", file_kinds.TAR),
        ("old tar", file_kinds.TAR),
        ("zip", file_kinds.ZIP),
    ],
)
def test_what_its_own_library_wrote_is_called_by_its_name(kind: str, words: str, tmp_path: Path) -> None:
    assert what_is(saved(tmp_path / "file", kind)) == words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", file_kinds.EMPTY),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", file_kinds.LFS),
        (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", file_kinds.HTML),
        (b"<html>", file_kinds.HTML),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", file_kinds.XML),
        (json.dumps({"error": "gated"}).encode(), file_kinds.JSON),
        (gzip.compress(b"x", mtime=0), "a gzip file"),
        (pickle.dumps({"a": 1}), file_kinds.PICKLE),
        ("Grüße\n".encode(), file_kinds.TEXT),
        (("x" * (file_kinds.READ - 1) + "ü").encode()[: file_kinds.READ], file_kinds.TEXT),
        (b"\x80", file_kinds.UNKNOWN),
        (bytes(5000)[: file_kinds.READ], file_kinds.UNKNOWN),
        (b"\x01\x02\xfe\xff" * 9, file_kinds.UNKNOWN),
    ],
)
def test_what_servers_and_git_leave_in_place_of_a_file_is_told(content: bytes, words: str) -> None:
    assert kind_of(content, len(content)) == words


def test_folders_and_missing_files_are_words_too(tmp_path: Path) -> None:
    assert what_is(tmp_path) == "a folder"
    assert what_is(tmp_path / "nowhere") == "a file that cannot be read"


def test_no_bytes_of_any_kind_raise() -> None:
    rng = np.random.default_rng(0)
    starts = [start for start, _ in file_kinds.SIGNATURES] + [b"PK\x03\x04", b"RIFF", b"\x80\x02", b"{", b"<"]
    for start in starts:
        for length in (0, 1, 3, 30, 600):
            assert kind_of(start + rng.bytes(length))
