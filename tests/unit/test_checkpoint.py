"""Weights files are read strictly, written whole, and never unpickled."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from harness.checkpoint import read_about, read_weights, sha256, write_weights
from harness.errors import ArbenchError

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
    contents: dict[str, Any] = {
        "empty": b"",
        "no header": whole[:5],
        "half a header": whole[:40],
        "a byte short": whole[:-1],
        "half": whole[: len(whole) // 2],
        "text": b"not weights at all" * 20,
        "a pickle": pickle.dumps({"0.weight": [1.0]}),
    }
    path.write_bytes(contents[kind])


@pytest.mark.parametrize("kind", ["empty", "no header", "half a header", "a byte short", "half", "text", "a pickle"])
@pytest.mark.parametrize("read", [lambda path: read_weights(path, network()), read_about], ids=["weights", "about"])
def test_a_damaged_file_is_named(path: Path, kind: str, read: Any) -> None:
    damaged(kind, path)
    with pytest.raises(ArbenchError, match=rf"cannot read weights .*{path.name}: the file is damaged or cut short"):
        read(path)


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

    monkeypatch.setattr("harness.checkpoint.save_file", full)
    with pytest.raises(ArbenchError, match="cannot write weights .*No space left"):
        write_weights(path, {"a": torch.ones(1)}, {})
    module = nn.Module()
    module.register_buffer("a", torch.ones(1))
    assert float(read_weights(path, module).state_dict()["a"]) == 0


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
