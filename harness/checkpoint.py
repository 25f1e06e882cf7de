"""Weights on disk: safetensors with metadata, read strictly, written at once or not at all."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.errors import ArbenchError


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArbenchError(f"cannot read {path}: {error.strerror}") from error


def write_weights(path: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and ``about`` (JSON-able values: config, seed, data hash, commit, figures) under a temporary name,
    then rename: a reader never sees half a file. ArbenchError if that cannot be done."""
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
    try:
        with safe_open(path, framework="pt") as file:
            return {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise ArbenchError(f"cannot read weights {path}: {error}") from error


def read_weights(path: Path, module: nn.Module) -> nn.Module:
    """Load a safetensors file into ``module``, strictly; returns the module in eval mode.

    Raises ArbenchError naming the file and the fault: missing, truncated, or keys and shapes that do not fit.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArbenchError(f"cannot read weights {path}: {error}") from error
    fit_state(module, state, path)
    return module.eval()


def fit_state(module: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    """Copy ``state`` into ``module``; every missing, unexpected and mis-shaped key is listed in the ArbenchError."""
    own = module.state_dict()
    faults = [f"missing {name}" for name in own.keys() - state.keys()]
    faults += [f"unexpected {name}" for name in state.keys() - own.keys()]
    faults += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if faults:
        raise ArbenchError(f"weights {source} do not fit {type(module).__name__}: {'; '.join(sorted(faults))}")
    module.load_state_dict(dict(state))
