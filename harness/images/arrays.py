"""Arrays in .npz and .npy files of others: looked up, streamed and read without trusting what the file says of itself.

Nothing is unpickled. Whatever is wrong with a file raises ArbenchError in one line that names it.
"""

import os
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import ArbenchError
from harness.file_kinds import READ, kind_of
from harness.images.listing import shown_name

LISTED = 12
"""How many names of arrays a message lists."""
MOST_OF_ZIP = 1100
"""A compressed byte stands for fewer bytes than this (deflate: 1032), but for an overhead of ZIP_OVERHEAD bytes."""
ZIP_OVERHEAD = 64


@dataclass(frozen=True)
class Header:
    """What an array's header says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def bytes(self) -> int:
        """Of all values."""
        return prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


class ArrayFile:
    """The arrays of an .npz, by name, or the one array of an .npy, whose name is ""."""

    def __init__(self, path: Path) -> None:
        """ArbenchError, which says what the file is, for one of another kind."""
        self.path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        with self._one_line():
            with path.open("rb") as file:
                head = file.read(READ)
            self.is_npy = head.startswith(np.lib.format.MAGIC_PREFIX)
            if not self.is_npy:
                self._list(head)

    def _list(self, head: bytes) -> None:
        if not head.startswith(b"PK") or not zipfile.is_zipfile(self.path):
            kind = kind_of(head, self.path.stat().st_size)
            cut = ", cut short: its directory, which comes last, is missing" if head.startswith(b"PK") else ", no .npz"
            raise ArbenchError(f"cannot read {self.path}: it is {kind}{cut}")
        with zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name in self._members:
                    raise ArbenchError(f"{self.path} holds two arrays called {shown_name(name)}")
                self._members[name] = info

    @property
    def names(self) -> list[str]:
        """The names of the arrays."""
        return [""] if self.is_npy else list(self._members)

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[IO[bytes], Header]]:
        """The bytes of an array's values, and its header. Whatever goes wrong inside the ``with`` is an ArbenchError.
        A name that there is not is told with those that there are."""
        if name not in self.names:
            raise ArbenchError(f"{self.path} holds no array {shown_name(name)} (it holds {self.listed()})")
        with self._one_line():
            if self.is_npy:
                with self.path.open("rb") as file:
                    yield file, self._header(file, name, os.fstat(file.fileno()).st_size, None)
            else:
                info = self._members[name]
                with zipfile.ZipFile(self.path) as archive, archive.open(info) as member:
                    yield member, self._header(member, name, info.file_size, info.compress_size)

    def read(self, wanted: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Those of these arrays that there are, whole."""
        found = {}
        for name in wanted:
            if name in self.names:
                with self.opened(name) as (file, header):
                    values = np.frombuffer(self.exactly(file, header.bytes), header.dtype)
                    self.ended(file)
                    found[name] = values.reshape(header.shape, order="F" if header.fortran else "C")
        return found

    def exactly(self, file: IO[bytes], length: int) -> bytearray:
        """So many bytes; ArbenchError if the file ends before."""
        content = bytearray(file.read(length))
        if len(content) != length:
            raise ArbenchError(f"{self.path} is cut short: {length - len(content):,} bytes are missing")
        return content

    def ended(self, file: IO[bytes]) -> None:
        """ArbenchError unless the file ends here. In a zip, checksums are compared only where a member ends."""
        if file.read(1):
            raise ArbenchError(f"{self.path} goes on after the last value of an array")

    def listed(self) -> str:
        """The names of the arrays, for a message."""
        shown = [shown_name(name) for name in self.names]
        return ", ".join(shown[:LISTED] + ["..."] * (len(shown) > LISTED)) or "nothing"

    def _header(self, file: IO[bytes], name: str, size: int, packed: int | None) -> Header:
        """size: bytes of header and values; packed: as they lie in the zip."""
        title = f"{self.path}: {shown_name(name) or 'the array'}"
        start = file.read(np.lib.format.MAGIC_LEN)
        if start[:6] != np.lib.format.MAGIC_PREFIX:
            raise ArbenchError(f"{title} is no NumPy array: it is {kind_of(start + file.read(READ))}")
        reader: Any = getattr(np.lib.format, f"read_array_header_{start[6]}_0", None)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Python's parser, about what a damaged header holds
                header = _parsed(reader, file)
        except Exception as error:  # the header is parsed as Python: any of half a dozen kinds
            raise ArbenchError(f"{title}: its header is damaged ({' '.join(str(error).split())[:100]})") from error
        if header.dtype.hasobject:
            raise ArbenchError(f"{title} is {header}: Python objects are never loaded, as they could run code")
        there = size - file.tell()
        if there < header.bytes or (packed is not None and header.bytes > (packed + ZIP_OVERHEAD) * MOST_OF_ZIP):
            raise ArbenchError(f"{self.path} is cut short: {shown_name(name)} is {header}, and has not as many bytes")
        if there > header.bytes:
            raise ArbenchError(f"{title} is {header}, but {there - header.bytes:,} bytes more follow")
        return header

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Whatever goes wrong inside the ``with``, as one line."""
        try:
            yield
        except ArbenchError:
            raise
        except OSError as error:
            raise ArbenchError(f"cannot read {self.path}: {error.strerror or error}") from error
        except Exception as error:  # a damaged zip raises any of a dozen kinds
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ArbenchError(
                f"cannot read {self.path}: it is damaged, or packed in a way that is not read ({reason})"
            ) from error


def _parsed(reader: Any, file: IO[bytes]) -> Header:
    if reader is None:
        raise ValueError("an unknown version of the format")
    shape, fortran, dtype = reader(file)
    if any(side < 0 for side in shape):
        raise ValueError(f"shape {shape}")
    return Header(shape, dtype, fortran)
