"""Checks whether Python finds our own packages under their names, and does what can be done if it does not.

Python takes the first match on sys.path. Our packages come after the current folder and PYTHONPATH and, in an editable
install, after everything else. A folder in front that has a module of the same name is moved behind ours, for this
process and the worker processes that it starts (multiprocessing hands sys.path on). The moved folder is still searched
for other names.
"""

import base64
import hashlib
import importlib
import importlib.util
import sys
from importlib import metadata
from pathlib import Path

OURS = ("harness", "baselines", "methods", "reports")
HOME = Path(__file__).resolve().parents[1]
"""The folder that holds our packages: site-packages, or a checkout."""


def conflict() -> str | None:
    """Put our packages first where other modules hide them. Returns None if Python then finds all of them.

    Otherwise returns one line that says which package is missing, or what still hides or has overwritten it.
    """
    for name in OURS:
        found = location(name)
        if found is not None and found != _own(name):
            _move_behind_ours(found)
        found = location(name)
        if found is None:
            return f"the package {name!r} is missing from {HOME}: install arbench again"
        if found != _own(name):
            return f"{found} is in the way of arbench's own package {name!r}: {_remedy(found)}"
    return _overwritten()


def location(name: str) -> Path | None:
    """The file that `import name` would run, or else the folder of the package; None if there is neither."""
    module = sys.modules.get(name)
    spec = importlib.util.find_spec(name) if module is None else module.__spec__
    if spec is None:
        return None
    places = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or [])
    return Path(places[0]).resolve() if places else None


def _own(name: str) -> Path:
    return HOME / name / "__init__.py"


def _move_behind_ours(found: Path) -> None:
    """Move the entries of sys.path that ``found`` comes from behind the folder of our packages."""
    folder = found.parent if found.name != "__init__.py" else found.parent.parent
    moved = [entry for entry in sys.path if Path(entry or ".").resolve() == folder]
    kept = [entry for entry in sys.path if entry not in moved]
    if not moved or folder == HOME:
        return
    at = next((index + 1 for index, entry in enumerate(kept) if Path(entry or ".").resolve() == HOME), None)
    if at is None:  # an editable install, whose finder comes after all of sys.path
        at = min(sys.path.index(moved[0]), len(kept))
        moved = [str(HOME), *moved]
    sys.path[:] = [*kept[:at], *moved, *kept[at:]]
    importlib.invalidate_caches()


def _remedy(found: Path) -> str:
    owner = _owner(found)
    if owner is not None:
        return f"the distribution {owner!r} installs it; give arbench an environment of its own"
    return f"rename it, or take {found.parent} out of Python's path (PYTHONPATH, .pth files, editable installs)"


def _overwritten() -> str | None:
    """One line on another distribution that has overwritten an ``__init__.py`` of our packages; None if none has."""
    try:
        files = metadata.distribution("arbench").files or []
    except metadata.PackageNotFoundError:  # a checkout on PYTHONPATH
        return None
    for file in files:
        if str(file) in {f"{name}/__init__.py" for name in OURS} and file.hash is not None:
            path = Path(str(file.locate())).resolve()
            digest = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
                owner = _owner(path)
                if owner is not None:
                    remedy = "give arbench an environment of its own and install both again"
                    return f"the distribution {owner!r} has overwritten {path}, arbench's own: {remedy}"
    return None


def _owner(path: Path) -> str | None:
    """Name of another distribution that has installed a file; None if none has."""
    end = Path(path.parent.name) / path.name
    for distribution in metadata.distributions():
        files = (file for file in distribution.files or [] if file.match(str(end)))
        if distribution.name != "arbench" and any(Path(str(file.locate())).resolve() == path for file in files):
            return distribution.name
    return None
