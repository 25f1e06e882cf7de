"""Reads arrays in .npz and .npy files that other programs wrote, without trusting what a file says of itself.

Arrays can be looked up, streamed, or read whole. Nothing is unpickled. Any fault of a file raises ArbenchError with a
one-line message that names the file.
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
"""The greatest number of bytes to which one compressed byte can expand (deflate reaches 1032)."""
ZIP_OVERHEAD = 64
"""In bytes. An array is refused if its header claims more than (compressed size + ZIP_OVERHEAD) x MOST_OF_ZIP bytes."""


@dataclass(frozen=True)
class Header:
    """The header of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool  # whether the values are stored in Fortran order

    @property
    def bytes(self) -> int:
        """Bytes of all values together."""
        return prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


class ArrayFile:
    """An .npz file, whose arrays have names, or an .npy file, whose only array has the empty name."""

    def __init__(self, path: Path) -> None:
        """Raises ArbenchError if the file is neither an .npz nor an .npy. The error says what the file is."""
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
        """Open an array: yields the stream of its values, and its header.

        Any error inside the ``with`` becomes an ArbenchError. An unknown name raises ArbenchError, which lists the
        names in the file.
        """
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
        """Read the wanted arrays whole. Returns a dict from name to array. A wanted array that the file does not hold
        is left out of the dict."""
        found = {}
        for name in wanted:
            if name in self.names:
                with self.opened(name) as (file, header):
                    values = np.frombuffer(self.exactly(file, header.bytes), header.dtype)
                    self.ended(file)
                    found[name] = values.reshape(header.shape, order="F" if header.fortran else "C")
        return found

    def exactly(self, file: IO[bytes], length: int) -> bytearray:
        """Read exactly ``length`` bytes. Raises ArbenchError if the file ends earlier."""
        content = bytearray(file.read(length))
        if len(content) != length:
            raise ArbenchError(f"{self.path} is cut short: {length - len(content):,} bytes are missing")
        return content

    def ended(self, file: IO[bytes]) -> None:
        """Raises ArbenchError if the file goes on after the bytes that were read. The call also makes Python compare
        the checksum of a zip member: Python does so only when the member is read to its end."""
        if file.read(1):
            raise ArbenchError(f"{self.path} goes on after the last value of an array")

    def listed(self) -> str:
        """The names of the arrays, for a message."""
        shown = [shown_name(name) for name in self.names]
        return ", ".join(shown[:LISTED] + ["..."] * (len(shown) > LISTED)) or "nothing"

    def _header(self, file: IO[bytes], name: str, size: int, packed: int | None) -> Header:
        """Read and check the header of an array.

        size: number of bytes of header and values together
        packed: number of bytes that header and values take up, compressed, in the zip; None for an .npy
        """
        title = f"{self.path}: {shown_name(name) or 'the array'}"
        start = file.read(np.lib.format.MAGIC_LEN)
        if start[:6] != np.lib.format.MAGIC_PREFIX:
            raise ArbenchError(f"{title} is no NumPy array: it is {kind_of(start + file.read(READ))}")
        reader: Any = getattr(np.lib.format, f"read_array_header_{start[6]}_0", None)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's parser warns about damaged headers
                header = _parsed(reader, file)
        except Exception as error:  # the header is parsed as Python, which raises half a dozen kinds
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
        """Turn any error inside the ``with`` into an ArbenchError with a one-line message."""
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
