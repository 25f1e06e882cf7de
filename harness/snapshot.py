"""The code that runs: its hash, which records carry, and a copy, for jobs that start later and elsewhere."""

import hashlib
import importlib.util
import secrets
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from harness import registry
from harness.errors import ArbenchError
from harness.hashing import digest


def packages() -> dict[str, Path]:
    """Top-level name -> folder (or file, for a module of one file) of ``harness`` and of all that hold methods."""
    found = {}
    for name in sorted({"harness", *(point.module.split(".")[0] for point in registry.points())}):
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ArbenchError(f"package {name!r}, which holds methods, cannot be found")
        places = spec.submodule_search_locations
        found[name] = Path(next(iter(places))) if places else Path(str(spec.origin))
    return found


@cache
def code_sha256() -> str:
    """The sha256 of every Python file of ``packages()``, names included."""
    return digest({name: sha256 for name, sha256 in _hashes().items() if name.endswith(".py")})


def keep(folder: Path) -> Path:
    """Copy ``packages()`` into a folder of their own in ``folder``, named by a hash of all their files, unless it is
    there; returns it: what PYTHONPATH has to name. ArbenchError if it cannot be written, or if files have changed since
    this process first looked: what it runs itself is no longer there to be copied."""
    place = folder / digest(_hashes())[:16]
    if place.is_dir():
        return place
    partial = folder / f".{place.name}.{secrets.token_hex(4)}.tmp"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for name, path in _files():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, partial / name)
            if hashlib.sha256((partial / name).read_bytes()).hexdigest() != _hashes().get(name):
                raise ArbenchError(f"{path} has changed since the run began; start it again")
        try:
            partial.rename(place)
        except OSError:
            if not place.is_dir():  # another driver was faster
                raise
    except OSError as error:
        raise ArbenchError(f"cannot keep a copy of the code in {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return place


@cache
def _hashes() -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _files()}


def _files() -> Iterator[tuple[str, Path]]:
    """Every file of ``packages()`` but caches, under its name below the folder that holds the packages."""
    for folder in packages().values():
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            name = path.relative_to(folder.parent)
            if path.is_file() and "__pycache__" not in name.parts and not path.name.startswith("."):
                yield name.as_posix(), path
