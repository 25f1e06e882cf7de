"""Published weights: where they come from, which folders are searched for them, and how they are fetched."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ArbenchError

VARIABLE = "ARBENCH_WEIGHTS"


@dataclass(frozen=True)
class Source:
    """A file in a repository of the Hugging Face hub."""

    repository: str
    path: str
    revision: str = "main"  # a commit, or a branch; the files of a branch may change

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit."""
        return re.fullmatch("[0-9a-f]{40}", self.revision) is not None


def folders() -> tuple[Path, ...]:
    """The folders that are searched for published weights. ARBENCH_WEIGHTS names them; if it is not set, there is one
    folder, in the user's cache. Raises ArbenchError if a folder cannot be determined, for example because a container's
    user has no home."""
    given = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return tuple(Path(part).expanduser() for part in given or [f"{cache}/arbench/weights"])
    except RuntimeError as error:
        what = f"{VARIABLE}={os.pathsep.join(given)} names no folder" if given else f"no home folder, no {VARIABLE}"
        raise ArbenchError(f"where weights are kept cannot be told: {what} (valid: folders in {VARIABLE})") from error


def place(file: str) -> Path:
    """The path of a weight file. ``folders`` are searched in order, and the first folder that has the file is taken. If
    no folder has the file, the path leads to where the file would be in the first folder."""
    return next((folder / file for folder in folders() if (folder / file).is_file()), folders()[0] / file)


def must_be_there(paths: Iterable[Path], preset: str, sources: Mapping[str, Source]) -> None:
    """Raise ArbenchError if any of these files is missing. The error names those missing files that are published, and
    says how to get them. If none of the missing files is published, the error names the first missing file.

    preset: the preset of the files, as ``arbench weights fetch`` takes it
    sources: where the published files come from, by file name
    """
    missing = [path for path in paths if not path.is_file()]
    fetchable = [path for path in missing if path.name in sources]
    if fetchable:
        names = ", ".join(path.name for path in fetchable)
        raise ArbenchError(
            f"weights {names} are not in {fetchable[0].parent}: 'arbench weights fetch {preset}' downloads them, or "
            f"name the folder that has them in {VARIABLE}"
        )
    if missing:
        raise ArbenchError(f"cannot read weights {missing[0]}: there is no such file")
