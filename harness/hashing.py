"""Hashes that keys are made of: of plain values, of files, of a method's source."""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from harness import checkpoint, registry
from harness.errors import ArbenchError

DRAWING = ("harness.sampling", "harness.noise")
"""The parts of the harness that decide which token is drawn; its other parts carry version numbers of their own."""


def digest(value: Any) -> str:
    """The sha256, in hex, of plain values (dicts in any order, lists, strings, finite numbers)."""
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 of a file, computed once a run unless its size or time of change moves. ArbenchError if unreadable."""
    try:
        facts = path.stat()
    except OSError as error:
        raise ArbenchError(f"cannot read {path}: {error.strerror}") from error
    return _file_sha256(path, facts.st_mtime_ns, facts.st_size)


@cache
def _file_sha256(path: Path, mtime_ns: int, size: int) -> str:
    return checkpoint.sha256(path)


@cache
def source_sha256(owner: type) -> str:
    """The sha256 of the code that a method's images depend on: the module of ``owner``, all that it imports from
    packages that hold methods, and DRAWING. Comments, docstrings and layout do not count, nor where in the harness a
    module stands: imports of the harness are left out; nor ``Method.same_as``, which makes no image."""
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
        seen[module] = ast.unparse(_without_harness(_without_docstrings(tree)))
    return digest(seen)


def _parsed(module: str) -> ast.Module | None:
    """The syntax tree of a module; None if there is no such module (``from a import b`` may name a thing in ``a``)."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_bytes())


def _imported(tree: ast.AST, module: str) -> Iterator[str]:
    """Dotted names that a module may be importing, relative ones made absolute."""
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
    """The same without its imports of the harness, which carries version numbers of its own: a module of the harness
    that moves then changes no key. Imports inside functions and ``if`` are left out as well."""
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


def weights_sha256(files: Iterable[Path]) -> dict[str, str]:
    """File name -> sha256, for the files that a method reads."""
    return {path.name: file_sha256(path) for path in files}
