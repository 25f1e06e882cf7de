"""Weights files are read strictly, written whole, and never unpickled."""

import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from harness.checkpoints.tensors import fit_state, read_about, read_tensors, read_weights, write_weights
from harness.errors import ArbenchError
from harness.extractors.inception import WEIGHTS_FILE, load_inception
from harness.hashing import sha256

ABOUT = {"plan": {"seed": 3, "lr": 0.1}, "data": "abc", "figures": {"rfid": 2.5}}


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "net.safetensors"


def test_weights_and_metadata_come_back(path: Path) -> None:
    torch.manual_seed(0)
    one, other = network(), network().train()
    write_weights(path, one.state_dict(), ABOUT)
    assert read_weights(path, other) is other
    assert not other.training
    for name, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    assert read_about(path) == ABOUT
    assert list(path.parent.iterdir()) == [path]


def test_a_view_and_a_transposed_weight_are_stored_whole(path: Path) -> None:
    weight = torch.arange(12.0).view(4, 3)
    write_weights(path, {"a": weight.T, "b": weight[:2]}, {})
    module = nn.Module()
    module.register_buffer("a", torch.zeros(3, 4))
    module.register_buffer("b", torch.zeros(2, 3))
    read_weights(path, module)
    assert torch.equal(module.state_dict()["a"], weight.T)


def test_all_that_does_not_fit_is_listed(path: Path) -> None:
    state = network().state_dict()
    state["0.weight"] = torch.zeros(3, 4)
    state["extra"] = torch.zeros(1)
    del state["1.running_mean"]
    write_weights(path, state, {})
    before = network()
    kept = {name: value.clone() for name, value in before.state_dict().items()}
    with pytest.raises(ArbenchError) as caught:
        read_weights(path, before)
    said = str(caught.value)
    assert str(path) in said
    assert "do not fit Sequential" in said
    for fault in ("missing 1.running_mean", "unexpected extra", "0.weight is (3, 4), not (4, 3)"):
        assert fault in said
    for name, value in before.state_dict().items():
        assert torch.equal(value, kept[name]), "a file that does not fit must change nothing"


def damaged(kind: str, path: Path) -> None:
    write_weights(path, network().state_dict(), ABOUT)
    whole = path.read_bytes()
    contents: dict[str, bytes] = {
        "no header": whole[:5],
        "half a header": whole[:40],
        "a byte short": whole[:-1],
        "half": whole[: len(whole) // 2],
        "a huge header": (10**12).to_bytes(8, "little") + whole[8:],
        "a huge tensor": whole.replace(b'"shape":[4,3]', b'"shape":[9,9]'),
        "no JSON": whole[:8] + b"{" * 20 + whole[28:],
    }
    path.write_bytes(contents[kind])


DAMAGED = ["no header", "half a header", "a byte short", "half", "a huge header", "a huge tensor", "no JSON"]
READERS = {
    "weights": lambda path: read_weights(path, network()),
    "about": read_about,
    "tensors": read_tensors,
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("read", READERS)
def test_a_damaged_file_is_named(path: Path, kind: str, read: str) -> None:
    damaged(kind, path)
    with pytest.raises(ArbenchError, match=rf"cannot read weights .*{path.name}: the file is damaged or cut short"):
        READERS[read](path)


def saved(write: Any, *content: Any) -> bytes:
    file = io.BytesIO()
    write(*(file if one is ... else one for one in content))
    return file.getvalue()


def legacy_tar() -> bytes:
    """As torch wrote before 2018."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return file.getvalue()


INSTEAD: dict[str, bytes] = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n",
    "an HTML page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "an empty file": b"",
    "a NumPy array (.npy)": saved(np.save, ..., np.zeros(3)),
    "a NumPy archive (.npz)": saved(np.savez, ..., np.zeros(3)),
    "a zip archive": saved(lambda file: zipfile.ZipFile(file, "w").writestr("readme.txt", "hello"), ...) + bytes(4000),
    "a tar archive": legacy_tar(),
    "a text file": b"not weights at all" * 20,
    "a JSON file": b'{"error": "Repository not found"}',
    "a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(100),
}


@pytest.mark.parametrize("kind", INSTEAD)
@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "inception.pth"])
def test_what_is_given_in_place_of_weights_is_said(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(INSTEAD[kind])
    with pytest.raises(ArbenchError) as caught:
        load_inception(path) if name == "inception.pth" else read_tensors(path)
    said = str(caught.value)
    assert f"{name}: it is {kind}" in said
    assert "(valid: a safetensors file or one of torch.save)" in said or f"(valid: {WEIGHTS_FILE})" in said


def test_a_file_of_torch_is_refused_where_safetensors_are_needed(path: Path) -> None:
    path.parent.mkdir()
    for old in (False, True):
        torch.save({"0.weight": torch.zeros(2)}, path, _use_new_zipfile_serialization=not old)
        with pytest.raises(ArbenchError, match=r"it is a (file of torch.save|pickle .*) \(valid: a safetensors file\)"):
            read_weights(path, network())


def test_a_folder_and_a_pipe_are_no_weights(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArbenchError, match="pipe: it is no regular file"):
        read_tensors(tmp_path / "pipe")
    with pytest.raises(ArbenchError, match="it is a folder"):
        read_tensors(tmp_path)
    with pytest.raises(ArbenchError, match="it is a folder"):
        load_inception(tmp_path)


def test_weights_are_read_whatever_their_ending(tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0)}
    save_file(state, tmp_path / "net.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("net.pth", "old.pth"):
        assert torch.equal(read_tensors(tmp_path / name)["a"], state["a"])


def test_a_tensor_whose_part_of_the_file_is_too_short_is_refused(tmp_path: Path) -> None:
    """torch maps such a file and takes what comes after it."""
    whole = tmp_path / "net.pth"
    shared = torch.arange(2000.0)
    torch.save({"model": {"a": shared[:1000], "b": shared[500:], "c": torch.zeros(()), "d": torch.zeros(0)}}, whole)
    assert torch.equal(read_tensors(whole, [("model",)])["b"], shared[500:])
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "short.pth", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[:4000])
    with pytest.raises(ArbenchError, match=r"short\.pth: it is damaged, or no file of torch\.save"):
        read_tensors(tmp_path / "short.pth", [("model",)])


def test_tensors_that_hold_no_values_do_not_fit(path: Path) -> None:
    module = nn.Module()
    module.register_buffer("a", torch.zeros(2, 2))
    for odd in (torch.eye(2).to_sparse(), torch.zeros(2, 2, device="meta"), torch.zeros(2, 2, dtype=torch.complex64)):
        with pytest.raises(ArbenchError, match="do not fit Module: a is "):
            fit_state(module, {"a": odd}, path)


def test_a_pickle_is_refused_before_anything_in_it_runs(path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (path.parent / "ran",)

    path.parent.mkdir()
    torch.save({"0.weight": Bomb()}, path)
    with pytest.raises(ArbenchError):
        read_weights(path, network())
    assert not (path.parent / "ran").exists()


def test_a_missing_file_is_named(path: Path) -> None:
    for read in (lambda: read_weights(path, network()), lambda: read_about(path), lambda: sha256(path)):
        with pytest.raises(ArbenchError, match=path.name):
            read()


def test_metadata_that_are_not_ours_are_an_error(path: Path) -> None:
    path.parent.mkdir()
    save_file({"a": torch.zeros(1)}, path, metadata={"plan": "not JSON"})
    with pytest.raises(ArbenchError, match="cannot read weights"):
        read_about(path)


def test_a_write_that_fails_leaves_the_old_file_and_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_weights(path, {"a": torch.zeros(1)}, {})

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.checkpoints.tensors.save_file", full)
    with pytest.raises(ArbenchError, match="cannot write weights .*No space left"):
        write_weights(path, {"a": torch.ones(1)}, {})
    module = nn.Module()
    module.register_buffer("a", torch.ones(1))
    assert float(read_weights(path, module).state_dict()["a"]) == 0


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
