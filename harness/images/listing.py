"""The image files under a folder: one listing, by which scoring and training read and references are hashed.

Links are followed. A folder that may not be read, or a link to nothing, is an error and never passed over. What is left
out (hidden files, files that are no images) is told in ``notes``.
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
"""What systems leave in folders, beside names that begin with a dot (.ipynb_checkpoints, .DS_Store, ._x.png)."""
SHARDS = frozenset((".tar", ".npz", ".npy"))
"""Endings of files that hold many images each."""
READING = 2
"""Raised when the pixels that are read from some image files change."""
NAMED = 3
"""How many names a note gives."""


@dataclass(frozen=True)
class Listing:
    """What lies under a folder."""

    folder: Path
    files: tuple[Path, ...]  # the images, by their path
    hidden: tuple[str, ...] = ()  # hidden files and folders that were left out, relative to the folder
    others: tuple[str, ...] = ()  # files that are no images, by their endings
    twice: tuple[str, ...] = ()  # links to folders that are here anyway

    def notes(self) -> Iterator[str]:
        """What was left out, in words."""
        if self.hidden:
            yield f"{self.folder}: hidden files and folders were left out: {_named(self.hidden)}"
        if self.others:
            yield f"{self.folder}: {len(self.others)} files that are no images were left out ({_counted(self.others)})"
        if self.twice:
            yield f"{self.folder}: links to folders that are counted anyway were left out: {_named(self.twice)}"

    def must_hold_images(self) -> "Listing":
        """Itself; ArbenchError if there are none, which says what there is."""
        if self.files:
            return self
        valid = ", ".join(sorted(SUFFIXES))
        there = f"; it holds {len(self.others)} other files ({_counted(self.others)})" if self.others else ""
        shards = any(suffix in SHARDS for suffix in self.others)
        hint = "; give those that hold images themselves, not their folder" if shards else ""
        raise ArbenchError(f"{self.folder} holds no images (valid: {valid}){there}{hint}")


def pictures_under(folder: Path) -> Listing:
    """All image files under a folder, at any depth. ArbenchError naming a folder that cannot be read, or a link that
    leads nowhere."""
    found = _Walk(folder)
    found.walk()
    return Listing(
        folder, tuple(sorted(found.files)), tuple(sorted(found.hidden)), tuple(found.others), tuple(found.twice)
    )


def class_folders(folder: Path) -> tuple[list[Path], list[str]]:
    """The class folders of a training set, by name, and the names of what lies beside them (hidden, or no folder)."""
    found, beside = [], []
    for entry in _entries(folder):
        if not is_hidden(entry.name) and _is_folder(entry):
            found.append(folder / entry.name)
        else:
            beside.append(entry.name)
    return found, beside


def folder_sha256(folder: Path) -> str:
    """Of the names and bytes of the images that reading sees under a folder."""
    files = pictures_under(folder).files
    return digest([READING, [[str(file.relative_to(folder)), file_sha256(file)] for file in files]])


def content_sha256(path: Path) -> str:
    """Of a file's bytes; of a folder, ``folder_sha256``."""
    return folder_sha256(path) if is_folder(path) else file_sha256(path)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder and no file. ArbenchError if it is neither, or may not be looked at."""
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
    """Whether a file or folder of this name is nobody's image or class."""
    return name.startswith(".") or name.lower() in LITTER


class _Walk:
    """What has been seen on the way through a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Path] = []
        self.hidden: list[str] = []
        self.others: list[str] = []
        self.twice: list[str] = []
        self._seen: set[tuple[int, int]] = set()
        self._links: list[Path] = []

    def walk(self) -> None:
        """The folders themselves first, then what links lead to: each folder once, so that no circle of links is
        endless and no image counts twice for a link to its folder."""
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
    """Whether it is a folder or a link to one. ArbenchError for a link that leads nowhere."""
    try:
        if entry.is_symlink():
            Path(entry.path).stat()
        return entry.is_dir()
    except OSError as error:
        link = "it is a link that leads nowhere: " if entry.is_symlink() else ""
        raise ArbenchError(f"cannot read {entry.path}: {link}{error.strerror or error}") from error


def _place(folder: Path) -> tuple[int, int]:
    """What tells a folder from all others, whatever links lead to it."""
    try:
        facts = folder.stat()
    except OSError as error:
        raise ArbenchError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    return facts.st_dev, facts.st_ino


def _named(names: Sequence[str]) -> str:
    """ "3: .a, .b, .c" or "9: .a, .b, .c, ..."; what a terminal would take for a command is escaped."""
    shown = ", ".join(shown_name(name) for name in names[:NAMED])
    return f"{len(names)}: {shown}{', ...' if len(names) > NAMED else ''}"


def shown_name(name: str) -> str:
    """A file's name as a message may print it: what cannot be printed is escaped, what is long is cut."""
    plain = one_line(name)
    return plain if len(plain) <= 80 else f"{plain[:77]}..."


def _counted(suffixes: Iterable[str]) -> str:
    """ "5 .txt, 1 .json"."""
    counts = Counter(suffixes).most_common(NAMED + 1)
    words = [f"{count} {shown_name(suffix) or 'without an ending'}" for suffix, count in counts[:NAMED]]
    return ", ".join([*words, "..."] if len(counts) > NAMED else words)
