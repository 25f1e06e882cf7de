"""Hashes the code that runs, and copies the code.

There are two hashes. ``code_sha256`` covers all the code. This hash is stored in every record. ``source_sha256`` covers
only the code on which the images of a method depend. This hash is part of the key of a trial.

``keep`` copies the code. A job that starts later, on another machine, runs this copy.
"""

import ast
import hashlib
import importlib.util
import secrets
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import ArbenchError
from harness.hashing import digest


def packages() -> dict[str, Path]:
    """The package ``harness`` and all packages that hold methods, by top-level name. The value is the package's folder,
    or its file if the package is a single file."""
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
    """The sha256 of all Python files of ``packages()``, including their names."""
    return digest({name: sha256 for name, sha256 in _hashes().items() if name.endswith(".py")})


def keep(folder: Path) -> Path:
    """Copy ``packages()`` into a new folder inside ``folder``, and return the new folder. To run the copy, put the new
    folder on PYTHONPATH.

    The name of the new folder is a hash of all files of the packages. If the new folder exists already, nothing is
    copied. Raises ArbenchError if the new folder cannot be written. Also raises ArbenchError if a file of the packages
    has changed since this process first read the file: the code that this process runs can then no longer be copied.
    """
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
            if not place.is_dir():  # if it is there, another driver was faster
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
    """Every file of ``packages()`` except caches. A file's name is its path below the folder that holds the package."""
    for folder in packages().values():
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            name = path.relative_to(folder.parent)
            if path.is_file() and "__pycache__" not in name.parts and not path.name.startswith("."):
                yield name.as_posix(), path


UNSAID = ("ctx", "kind", "type_comment")
"""Fields of a syntax tree that do not say what the code does."""
DRAWING = ("harness.sampling", "harness.noise")
"""The modules of the harness that decide which token is drawn. The other parts of the harness have version numbers."""


@cache
def source_sha256(owner: type) -> str:
    """The sha256 of the code on which the images of a method depend. owner: the class of the method.

    The hash covers these modules:

    - the module of ``owner``
    - the modules of the harness that the constant DRAWING lists; no other module of the harness is covered
    - modules that a covered module imports, if they belong to a package that holds methods

    Comments, docstrings and layout do not count. ``Method.same_as`` does not count, because it makes no image.
    Statements that import modules of the harness do not count. If a module moves within the harness, the hash therefore
    stays the same.
    """
    packages = {point.module.split(".")[0] for point in registry.points()}
    packages |= {base.__module__.split(".")[0] for base in owner.__mro__} - {"harness", "torch", "builtins", "abc"}
    waiting, seen = [owner.__module__, *DRAWING], dict[str, str]()
    while waiting:
        module = waiting.pop()
        if module in seen or (module not in DRAWING and module.split(".")[0] not in packages):
            continue
        tree = _parsed(module)
        if tree is None:
            continue
        waiting += _imported(tree, module)
        seen[module] = digest(_plain(_without_harness(_without_docstrings(tree))))
    return digest(seen)


def _plain(node: Any) -> Any:
    """A syntax tree as plain values that are the same under every version of Python.

    ast.unparse and ast.dump are not used, because their output differs between versions of Python. If the keys of
    trials depended on that output, everything in a store would be measured anew under the next version of Python.
    """
    if isinstance(node, ast.JoinedStr):  # Python 3.12 leaves empty texts in some f-strings
        return ["JoinedStr", [_plain(part) for part in node.values if getattr(part, "value", None) != ""]]
    if isinstance(node, ast.AST):
        fields = {name: _plain(value) for name, value in ast.iter_fields(node) if name not in UNSAID}
        return [type(node).__name__, {name: value for name, value in fields.items() if value not in (None, [])}]
    if isinstance(node, list):
        return [_plain(one) for one in node]
    return node if node is None else [type(node).__name__, node if isinstance(node, str) else repr(node)]


def _parsed(module: str) -> ast.Module | None:
    """The syntax tree of a module; None if no module has this name.

    ``_imported`` can yield a name that no module has. For ``from a import b`` it yields ``a.b``, although ``b`` may be
    a function or a class.
    """
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_bytes())


def _imported(tree: ast.AST, module: str) -> Iterator[str]:
    """The dotted names of all modules that a module possibly imports. Relative names are made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part) and not _says_same(part)] or [ast.Pass()]
    return tree


def _without_harness(tree: ast.Module) -> ast.Module:
    """The tree without the statements that import modules of the harness. Such statements are also removed from
    functions and from ``if``.

    ``source_sha256`` hashes the tree that is left, and this hash is part of a trial's key. When a module is moved
    within the harness, the statements that import the module change. Because these statements are removed, the key
    stays the same.

    The hash does not cover the code of the harness's stages. If a stage is changed so that it gives other results, the
    stage's number in ``harness.stages.VERSIONS`` is raised. This number is also part of the key, so the key changes.
    """
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            part = getattr(node, name, None)
            if isinstance(part, list) and any(_is_import_of_harness(one) for one in part):
                kept = [one for one in part if not _is_import_of_harness(one)]
                setattr(node, name, kept or ([ast.Pass()] if name == "body" else []))
    return tree


def _is_import_of_harness(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return not node.level and (node.module or "").split(".")[0] == "harness"
    return isinstance(node, ast.Import) and all(alias.name.split(".")[0] == "harness" for alias in node.names)


def _says_same(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "same_as"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
