"""Reads the images in a WebDataset .tar. Nothing is unpacked, so the file names in the archive can do no harm."""

import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from harness.errors import ArbenchError
from harness.images.listing import Listing, is_hidden, shown_name
from harness.images.pictures import SUFFIXES, Picture, decode_picture
from harness.images.reading import AS_THEY_ARE, PictureSamples, Reading

CHUNK = 1 << 20


class TarSamples(PictureSamples):
    """The images of a .tar, in the order of the archive."""

    def __init__(self, path: Path, reading: Reading = AS_THEY_ARE) -> None:
        super().__init__(path, reading)
        self._members: list[tuple[str, int, int]] = []  # name, offset, length in bytes
        self._hidden: list[str] = []
        self._others: list[str] = []
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    self._member(member)
                end = archive.offset
            with path.open("rb") as file:
                _must_end(file, end, path)
        except ArbenchError:
            raise
        except OSError as error:
            raise ArbenchError(f"cannot read {path}: {error.strerror or error}") from error
        except Exception as error:  # a damaged header raises any of half a dozen kinds
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ArbenchError(f"cannot read {path}: it is damaged or cut short ({reason})") from error
        self._one_a_sample()
        self.count = len(self._members)
        self._listing = Listing(path, (path,) * self.count, tuple(self._hidden), tuple(self._others))
        self._listing.must_hold_images()

    def _member(self, member: tarfile.TarInfo) -> None:
        path = PurePosixPath(member.name)
        if member.isdir():
            return
        if any(is_hidden(part) for part in path.parts if part not in (".", "..")):
            self._hidden.append(member.name)
        elif not self._wanted(path.name):
            self._others.append(path.suffix.lower())
        elif not member.isreg() or member.issparse():
            raise ArbenchError(
                f"{self.path}: {shown_name(member.name)} is a link or a sparse file (valid: whole images)"
            )
        else:
            self._members.append((member.name, member.offset_data, member.size))

    def _wanted(self, name: str) -> bool:
        if PurePosixPath(name).suffix.lower() not in SUFFIXES:
            return False
        return self.reading.key is None or name.lower().endswith(f".{self.reading.key.lower().lstrip('.')}")

    def _one_a_sample(self) -> None:
        """Raises ArbenchError if a sample of the WebDataset has more than one image, such as 0001.jpg and 0001.seg.png.

        In such a sample, only one image was made by a model. Another image of the sample may be a mask, for example.
        The sample is refused so that no mask is scored as an image of the model.
        """
        stems = Counter(name.rpartition(".")[0] for name, _, _ in self._members)
        for name, _, _ in self._members:
            stem = name.rpartition(".")[0]
            folder, slash, base = stem.rpartition("/")
            cut = base.rpartition(".")[0]
            if stems[stem] > 1 or (cut and f"{folder}{slash}{cut}" in stems):
                raise ArbenchError(
                    f"{self.path}: {shown_name(name)} is one of several images of a sample (--key jpg takes one)"
                )

    def read(self, index: int) -> Picture:
        name, start, length = self._members[index]
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                content = file.read(length)
        except OSError as error:
            raise ArbenchError(f"cannot read {self.path}: {error.strerror or error}") from error
        return decode_picture(content, self.name(index))

    def name(self, index: int) -> str:
        return f"{self.path}: {shown_name(self._members[index][0])}"

    def listing_notes(self) -> Iterator[str]:
        return self._listing.notes()


def _must_end(file: IO[bytes], end: int, path: Path) -> None:
    """Checks that the archive really ends at byte ``end``, where Python's tarfile stopped. Raises ArbenchError if not.

    A .tar ends with zeros: at least one block of 512 bytes. After ``end`` there must be such a block, and nothing but
    zeros up to the end of the file. The check is needed because tarfile also stops at a damaged header, and at the end
    of the first archive if another archive was appended. In both cases tarfile raises no error.
    """
    file.seek(end)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise ArbenchError(f"{path} is cut short: the mark of its end is missing")
    if any(block):
        raise ArbenchError(f"{path} is damaged: what follows its byte {end} is no header of a file")
    while rest := file.read(CHUNK):
        if rest.count(0) != len(rest):
            raise ArbenchError(f"{path} goes on after its end: give archives one by one, not put together with cat")
