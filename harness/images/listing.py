"""Lists the image files under a folder.

Scoring and training read the files that are listed. ``folder_sha256`` computes the hash of a folder from the listed
files. Links are followed. A folder that cannot be read is not skipped: it is an error. A link that leads nowhere is an
error, too.
``Listing.notes`` says what is left out (hidden files, files that are no images).
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ArbenchError, one_line
from harness.hashing import digest, file_sha256
from harness.images.pictures import SUFFIXES

LITTER = frozenset(("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"))
"""Names, in lower case, of files and folders that operating systems leave behind. They are hidden, that is, left out.
Names that begin with a dot (.ipynb_checkpoints, .DS_Store, ._x.png) are hidden as well."""
SHARDS = frozenset((".tar", ".npz", ".npy"))
"""Endings of files that hold many images each."""
READING = 2
"""A version number in the hash of a folder. The number is raised when a change of arbench changes the pixel values that
arbench reads from a file."""
NAMED = 3
"""Maximum number of names in a note."""


@dataclass(frozen=True)
class Listing:
    """The files under a folder: its images, and what was left out."""

    folder: Path
    files: tuple[Path, ...]  # the images, sorted by path
    hidden: tuple[str, ...] = ()  # hidden files and folders that were left out, relative to the folder
    others: tuple[str, ...] = ()  # for each file that is no image: the ending of its name
    twice: tuple[str, ...] = ()  # links to a folder that is listed already: they are not followed

    def notes(self) -> Iterator[str]:
        """Messages that say what was left out."""
        if self.hidden:
            yield f"{self.folder}: hidden files and folders were left out: {_named(self.hidden)}"
        if self.others:
            yield f"{self.folder}: {len(self.others)} files that are no images were left out ({_counted(self.others)})"
        if self.twice:
            yield f"{self.folder}: links to folders that are counted anyway were left out: {_named(self.twice)}"

    def must_hold_images(self) -> "Listing":
        """Returns this listing if it contains images. Otherwise raises ArbenchError, which says what the folder
        holds."""
        if self.files:
            return self
        valid = ", ".join(sorted(SUFFIXES))
        there = f"; it holds {len(self.others)} other files ({_counted(self.others)})" if self.others else ""
        shards = any(suffix in SHARDS for suffix in self.others)
        hint = "; give those that hold images themselves, not their folder" if shards else ""
        raise ArbenchError(f"{self.folder} holds no images (valid: {valid}){there}{hint}")


def pictures_under(folder: Path) -> Listing:
    """All image files under a folder, at any depth. Raises ArbenchError if a folder cannot be read or a link leads
    nowhere. The error names the path."""
    found = _Walk(folder)
    found.walk()
    return Listing(
        folder, tuple(sorted(found.files)), tuple(sorted(found.hidden)), tuple(found.others), tuple(found.twice)
    )


def class_folders(folder: Path) -> tuple[list[Path], list[str]]:
    """Two lists: the class folders of a training set, sorted by name, and the names of the other entries. The other
    entries are hidden, or are not folders."""
    found, beside = [], []
    for entry in _entries(folder):
        if not is_hidden(entry.name) and _is_folder(entry):
            found.append(folder / entry.name)
        else:
            beside.append(entry.name)
    return found, beside


def folder_sha256(folder: Path) -> str:
    """A hash of all images under a folder. It covers the relative path and the bytes of each image. It also covers the
    version number READING. READING is raised when a change of arbench changes the pixel values that arbench reads from
    a file."""
    files = pictures_under(folder).files
    return digest([READING, [[str(file.relative_to(folder)), file_sha256(file)] for file in files]])


def content_sha256(path: Path) -> str:
    """The hash of a file or a folder: sha256 of a file's bytes, ``folder_sha256`` of a folder."""
    return folder_sha256(path) if is_folder(path) else file_sha256(path)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder rather than a file. Raises ArbenchError if it is neither, or may not be accessed."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise ArbenchError(f"cannot read {path}: there is no such file or folder") from error
    except OSError as error:
        raise ArbenchError(f"cannot read {path}: {error.strerror or error}") from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise ArbenchError(f"cannot read {path}: it is neither a file nor a folder, but a pipe or a device")
    return stat.S_ISDIR(mode)


def is_hidden(name: str) -> bool:
    """Whether a name begins with a dot or is in LITTER. A file of such a name does not count as an image, and a folder
    of such a name does not count as a class."""
    return name.startswith(".") or name.lower() in LITTER


class _Walk:
    """A walk through a folder, with the entries seen so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Path] = []
        self.hidden: list[str] = []
        self.others: list[str] = []
        self.twice: list[str] = []
        self._seen: set[tuple[int, int]] = set()  # ``_place`` of each folder
        self._links: list[Path] = []  # links to folders that are not followed yet

    def walk(self) -> None:
        """Go through the folder and all folders in it first, then through the folders to which links lead.

        Each folder is entered only once. A walk through a circle of links therefore ends. An image counts once, even if
        a link leads to its folder.
        """
        self._folder(self.folder)
        while self._links:
            self._folder(self._links.pop(0))

    def _folder(self, top: Path) -> None:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            place = _place(folder)
            if place in self._seen:
                self.twice.append(str(folder.relative_to(self.folder)))
                continue
            self._seen.add(place)
            for entry in _entries(folder):
                path = folder / entry.name
                if is_hidden(entry.name):
                    self.hidden.append(str(path.relative_to(self.folder)))
                elif _is_folder(entry):
                    (self._links if entry.is_symlink() else waiting).append(path)
                elif entry.is_file() and path.suffix.lower() in SUFFIXES:
                    self.files.append(path)
                else:
                    self.others.append(path.suffix.lower())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ArbenchError(f"cannot read the folder {folder}: {error.strerror or error}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to a folder. Raises ArbenchError for a link that leads nowhere."""
    try:
        if entry.is_symlink():
            Path(entry.path).stat()
        return entry.is_dir()
    except OSError as error:
        link = "it is a link that leads nowhere: " if entry.is_symlink() else ""
        raise ArbenchError(f"cannot read {entry.path}: {link}{error.strerror or error}") from error


def _place(folder: Path) -> tuple[int, int]:
    """Device and inode of a folder. They are the same whether a path leads to the folder directly or through a link."""
    try:
        facts = folder.stat()
    except OSError as error:
        raise ArbenchError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    return facts.st_dev, facts.st_ino


def _named(names: Sequence[str]) -> str:
    """The number of names, and the first names: "3: .a, .b, .c" or "9: .a, .b, .c, ...".

    Terminal control codes are escaped.
    """
    shown = ", ".join(shown_name(name) for name in names[:NAMED])
    return f"{len(names)}: {shown}{', ...' if len(names) > NAMED else ''}"


def shown_name(name: str) -> str:
    """A file's name for a message: characters that cannot be printed are escaped, and a long name is cut."""
    plain = one_line(name)
    return plain if len(plain) <= 80 else f"{plain[:77]}..."


def _counted(suffixes: Iterable[str]) -> str:
    """How many files have each ending, in words, the most frequent ending first: "5 .txt, 1 .json"."""
    counts = Counter(suffixes).most_common(NAMED + 1)
    words = [f"{count} {shown_name(suffix) or 'without an ending'}" for suffix, count in counts[:NAMED]]
    return ", ".join([*words, "..."] if len(counts) > NAMED else words)
