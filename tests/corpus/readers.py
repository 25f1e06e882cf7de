"""What well-known readers say of a file: arbench must not take what they refuse."""

import io
import json
import tarfile
import tomllib
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load as load_safetensors


def accepted(kind: str, folder: Path) -> bool:
    """Whether the odd file of a case is taken by the reader of its kind, where there is one."""
    reader = READERS.get(kind)
    files = [path for path in folder.rglob("*odd*") if path.is_file() and not path.name.startswith(".")]
    files += folder.glob("weights.*")
    if reader is None or len(files) != 1:
        return True
    try:
        with warnings.catch_warnings(action="ignore"):
            reader(files[0].read_bytes())
    except Exception:  # noqa: BLE001 - they raise whatever they raise
        return False
    return True


def _npz(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as pack:
        for name in pack.namelist():  # np.load takes no zip with something before it
            _npy(pack.read(name))


def _npy(content: bytes) -> None:
    assert isinstance(np.load(io.BytesIO(content), allow_pickle=False), np.ndarray)


def _picture(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        image.load()


def _tar(content: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as pack:
        for member in pack:
            if member.isfile() and Path(member.name).suffix in (".png", ".jpg", ".jpeg") and member.name[0] not in "._":
                file = pack.extractfile(member)
                assert file is not None
                _picture(file.read())


READERS: dict[str, Callable[[bytes], object]] = {
    "npz": _npz,
    "npy": _npy,
    "png": _picture,
    "jpeg": _picture,
    "tiff": _picture,
    "tar": _tar,
    "safetensors": load_safetensors,
    "pth": lambda content: torch.load(io.BytesIO(content), weights_only=True),
    "sweep": lambda content: tomllib.loads(content.decode("utf-8-sig")),
    "site": lambda content: tomllib.loads(content.decode("utf-8-sig")),
    "pack": lambda content: json.loads(zipfile.ZipFile(io.BytesIO(content)).read("0/record.json")),
}
