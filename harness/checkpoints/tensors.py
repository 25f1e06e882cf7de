"""Weights on disk.

Our own files are safetensors with metadata. They are read strictly, and written as a whole or not at all. Files
published by others may contain code; they are read without running that code.
"""

import argparse
import json
import os
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from harness import file_kinds
from harness.errors import ArbenchError, one_line

WRITTEN_BY_TORCH = (file_kinds.TORCH, file_kinds.PICKLE)
"""The kind of file that torch.save writes today, and the kind that it wrote before 2020."""
FAULTS_SHOWN = 20
LONGEST_FAULT = 200
"""An error about a file that does not fit shows at most FAULTS_SHOWN faults, and at most LONGEST_FAULT characters of
each fault."""


def write_weights(path: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and metadata under a temporary name, then rename the file: a reader never sees half a file.
    Raises ArbenchError if the file cannot be written.

    about: the metadata: values that JSON can hold (config, seed, data hash, commit, measured numbers)
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(plain, partial, metadata={name: json.dumps(value) for name, value in about.items()})
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise ArbenchError(f"cannot write weights {path}: {error}") from error


def read_about(path: Path) -> dict[str, Any]:
    """The metadata that ``write_weights`` stored. Raises ArbenchError for a missing or damaged file."""
    with _readable(path), safe_open(path, framework="pt") as file:
        return {name: json.loads(value) for name, value in (file.metadata() or {}).items()}


def read_weights(path: Path, module: nn.Module) -> nn.Module:
    """Load a safetensors file into ``module``, strictly; returns the module in eval mode.

    Raises ArbenchError if the file is missing or truncated, or if its keys or shapes do not fit. The error names the
    file and says which of these is wrong.
    """
    fit_state(module, _read_safetensors(path), path)
    return module.eval()


def read_tensors(path: Path, inside: Sequence[tuple[str, ...]] = ()) -> dict[str, Tensor]:
    """The tensors, by name, of a safetensors file or of a file written by torch.save.

    inside: for a file that stores the dictionary of tensors inside other dictionaries. Each entry gives the keys that
        may lead to the dictionary of tensors, outermost key first. The entries are tried in order. If the file is
        itself a dictionary of tensors, no entry is needed.

    Raises ArbenchError if the file is missing or truncated, holds no such dictionary, or holds objects other than plain
    values and tensors. Such objects could run code, and are never loaded.
    """
    kind = _kind(path, file_kinds.SAFETENSORS, *WRITTEN_BY_TORCH)
    if kind == file_kinds.SAFETENSORS or path.suffix == ".safetensors":
        return _read_safetensors(path)
    found = _read_pickle(path)
    for keys in inside:
        inner = found
        for key in keys:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            found = inner
            break
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        expected = ", ".join(".".join(keys) for keys in inside) or "none"
        raise ArbenchError(f"weights {path} hold no dictionary of tensors, plain or under a known key ({expected})")
    return found


def _kind(path: Path, *valid: str) -> str:
    """What a file is, in the words of ``harness.file_kinds``: for example an HDF5 file, a folder, or unknown. Raises
    ArbenchError if the file is known to be none of ``valid``, or cannot be opened. A file that is unknown raises no
    error here: perhaps it is one of ``valid``, but damaged."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ArbenchError(f"cannot read weights {path}: it is no regular file")
        with path.open("rb"):
            kind = file_kinds.what_is(path)
    except IsADirectoryError:
        kind = file_kinds.FOLDER
    except OSError as error:
        raise ArbenchError(f"cannot read weights {path}: {error.strerror or error}") from error
    if kind not in (*valid, file_kinds.UNKNOWN):
        words = "a safetensors file" + (" or one of torch.save" if file_kinds.TORCH in valid else "")
        raise ArbenchError(f"cannot read weights {path}: it is {kind} (valid: {words})")
    return kind


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with _readable(path):
        return load_file(path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """A context in which the caller reads the safetensors file ``path``. If the caller's code raises an error, the
    error becomes an ArbenchError. The ArbenchError says what is wrong with the file. If the file cannot be opened, or
    is known not to be a safetensors file, ArbenchError is raised before the caller's code runs."""
    _kind(path, file_kinds.SAFETENSORS)
    try:
        yield
    except OSError as error:
        raise ArbenchError(f"cannot read weights {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged header leads to any of several kinds of error
        fault = f"the file is damaged or cut short, or no safetensors file ({one_line(str(error))[:200]})"
        raise ArbenchError(f"cannot read weights {path}: {fault}") from error


def _read_pickle(path: Path) -> Any:
    try:
        with (
            torch.serialization.safe_globals([argparse.Namespace]),  # training scripts save their arguments
            warnings.catch_warnings(action="ignore"),  # about how old or how large the file is
        ):
            packed = zipfile.is_zipfile(path)
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=packed)
        if packed:
            _must_be_whole(path, found)
        return found
    except Exception as error:  # a damaged or hostile file leads to any of a dozen kinds of error
        named = re.search(r"(?:GLOBAL|class) ([\w.]+)", str(error))
        if named is not None:
            what = f"they hold {named[1]}, which is no tensor and could run code"
            raise ArbenchError(f"weights {path} are refused: {what}") from error
        raise ArbenchError(f"cannot read weights {path}: it is damaged, or no file of torch.save") from error


def _must_be_whole(path: Path, found: Any) -> None:
    """Raise ValueError if a tensor is longer than the part of the file that stores the tensor.

    torch reads such a file without an error. It takes the missing values from the bytes that come next in the file.
    """
    # The reason is that torch maps the file into memory (mmap in ``_read_pickle``).
    with zipfile.ZipFile(path) as pack:
        sizes = Counter(member.file_size for member in pack.infolist() if "/data/" in member.filename)
    storages = {
        storage.data_ptr(): storage.nbytes()
        for tensor in _tensors_in(found)
        if tensor.layout is torch.strided and tensor.device.type == "cpu"
        for storage in [tensor.untyped_storage()]
    }
    if Counter(size for size in storages.values() if size) - sizes:
        raise ValueError("a tensor is longer than its part of the file")


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors_in(part)


class Uninitialised(TorchFunctionMode):
    """A context in which modules are built without random initial values. A checkpoint will overwrite them anyway."""

    # For a network of a billion parameters, drawing initial values takes longer than loading the checkpoint.

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init" or func in (Tensor.normal_, Tensor.uniform_):
            return args[0] if args else kwargs["tensor"]
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


def fit_state(module: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Copy ``state`` into ``module``. Raises ArbenchError listing the missing, unexpected and mis-shaped keys."""
    own = module.state_dict()
    faults = [f"missing {name}" for name in own.keys() - state.keys()]
    faults += [f"unexpected {name}" for name in state.keys() - own.keys()]
    for name in own.keys() & state.keys():
        if own[name].shape != state[name].shape:
            faults.append(f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}")
        elif kind := _odd(state[name], own[name]):
            faults.append(f"{name} is {kind}")
    if faults:
        shown = [fault[:LONGEST_FAULT] for fault in sorted(faults)[:FAULTS_SHOWN]]
        shown += [f"{len(faults) - len(shown)} more faults"] if len(faults) > len(shown) else []
        raise ArbenchError(f"weights {source} do not fit {type(module).__name__}: {'; '.join(shown)}")
    module.load_state_dict(dict(state))


def _odd(given: Tensor, wanted: Tensor) -> str:
    """What is wrong with ``given``, if its values cannot be copied into ``wanted``. If they can, an empty text."""
    if given.layout is not torch.strided or given.is_quantized or given.device.type != "cpu":
        return "sparse, quantized, or without values"
    return "" if given.is_complex() == wanted.is_complex() else f"{given.dtype}, not {wanted.dtype}"
