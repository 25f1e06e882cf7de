"""The store: nobody sees half a record, two runners do not harm each other, pandas reads it all."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import files
from harness.errors import ArbenchError
from harness.records.store import Store
from harness.stages.figures import flat


def record(name: str = "fake[seed=0]", key: str = "a" * 64, finished: str = "1", **more: Any) -> dict[str, Any]:
    about = {"name": name, "key": key, "status": "done", "trial": {"images": 10}, "provenance": {"finished": finished}}
    return {**about, **more}


def test_a_record_is_read_back_with_its_arrays(tmp_path: Path) -> None:
    store = Store(tmp_path / "new folder" / "störe [1]")
    store.prepare()
    written = record(quality={"fid": {"tiny": 1.5}, "is": None})
    arrays = {"thumbnails": np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)}
    store.write(written, arrays)
    assert store.read(written["name"], written["key"]) == written
    np.testing.assert_array_equal(store.arrays(written)["thumbnails"], arrays["thumbnails"])
    assert store.read("fake[seed=1]", written["key"]) is None


def test_names_that_file_systems_refuse_are_stored_all_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path)
    odd = record(name="../a/b\0ü" + "x" * 400)
    store.write(odd)
    assert store.records() == [odd]
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "records"]


def test_the_newest_record_of_a_trial_is_in_force(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = record(key="b" * 64, finished="1"), record(key="a" * 64, finished="2")
    other = record(key="c" * 64, finished="0", trial={"images": 20})
    for one in (old, new, other):
        store.write(one)
    assert store.records() == [new, other]
    assert len(list(store.all_records())) == 3


def test_the_table_has_a_row_a_record_and_dotted_columns(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(record(quality={"fid": {"tiny": 1.5}}))
    store.write(record(name="fake[seed=1]", key="b" * 64, status="failed", failure={"stage": "generate"}))
    table = store.table()
    assert list(table["status"]) == ["done", "failed"]
    assert table["quality.fid.tiny"][0] == 1.5
    assert table["failure.stage"][1] == "generate"
    assert flat({"a": {"b": {"c": [1, 2]}}, "d": None}) == {"a.b.c": [1, 2], "d": None}


def test_an_absent_store_is_empty_to_read_and_refused_where_records_are_needed(tmp_path: Path) -> None:
    store = Store(tmp_path / "absent")
    assert store.records() == []
    assert store.table().empty
    assert not (tmp_path / "absent").exists()
    with pytest.raises(ArbenchError, match="is no store"):
        store.must_exist()


@pytest.mark.parametrize("place", ["file/store", "/proc/store", "file"])
def test_a_store_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArbenchError, match=r"store .* cannot be written: "):
        Store(tmp_path / place).prepare()


def test_a_writer_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    files.write_json(path, {"old": 1})

    def fail(file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ArbenchError, match="No space left on device"):
        files.write(path, fail)
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"new": float("nan")})
    assert files.read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["file.json"]  # noqa: PTH208 - hidden files too


def test_readers_never_see_half_a_file_of_many_writers(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    files.write_json(path, [0] * 5000)

    def write(turn: int) -> None:
        files.write_json(path, [turn] * 5000)

    def read(turn: int) -> bool:
        seen = files.read_json(path)
        return len(seen) == 5000 and len(set(seen)) == 1

    with ThreadPoolExecutor(8) as pool:
        writing = [pool.submit(write, turn) for turn in range(40)]
        assert all(pool.map(read, range(80)))
        for one in writing:
            one.result()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps(record())[:-9].encode(), "it is damaged, or no JSON in UTF-8"),
        (b"", "it is damaged, or no JSON in UTF-8"),
        (b"[1, 2]", "the record: it is no object"),
        (b"null,", "it is damaged"),
        (json.dumps(record())[:-1].encode() + b', "quality": {"is": NaN}}', "NaN is no number of JSON"),
        (b"[" * 100_000, "it is damaged"),
        (json.dumps(record(trial={})).encode(), "trial: images is missing"),
        (json.dumps(record(quality={"is": "5"})).encode(), "quality: is is not number"),
        (json.dumps(record(flops={"by_part": {"ffn": []}})).encode(), "flops: by_part is not numbered"),
        ("\ufeff".encode() + json.dumps(record()).encode("utf-16-le"), "it is damaged, or no JSON in UTF-8"),
    ],
)
def test_a_damaged_record_is_told_in_one_line_and_the_others_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, reason: str
) -> None:
    store = Store(tmp_path)
    store.write(record())
    (tmp_path / "records" / "half.json").write_bytes(content)
    assert store.records() == [record()]
    assert store.records() == [record()]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("arbench: left out: ") and "half.json" in line and reason in line
    assert store.damaged == {"half.json"}


def test_a_damaged_record_is_measured_anew_and_damaged_arrays_are_as_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, one = Store(tmp_path), record()
    store.write(one, {"steps": np.arange(3)})
    path = store.path(one["name"], one["key"])
    path.with_suffix(".npz").write_bytes(b"PK\x03\x04 and no more")
    assert store.arrays(one) == {}
    path.write_bytes(path.read_bytes()[:20])
    assert store.read(one["name"], one["key"]) is None
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "half.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ArbenchError, match="half.npz"):
        files.read_arrays(tmp_path / "half.npz")


def test_bytes_that_are_no_utf_8_are_written_as_escapes_and_read_so_where_they_were_not(tmp_path: Path) -> None:
    store, odd = (
        Store(tmp_path),
        record(provenance={"command": ["run", os.fsdecode(b"caf\xe9"), "caf\u00e9 \U0001f600"]}),
    )
    store.write(odd)
    path = store.path(odd["name"], odd["key"])
    assert json.loads(path.read_text())["provenance"]["command"][1:] == ["caf\\udce9", "caf\u00e9 \U0001f600"]
    path.write_text(json.dumps(odd))  # as earlier versions did
    (found,) = store.records()
    assert found["provenance"]["command"][1:] == ["caf\\udce9", "caf\u00e9 \U0001f600"]
    found["name"].encode()


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", x=np.array([print], dtype=object))
    with pytest.raises(ArbenchError, match="bad.npz"):
        files.read_arrays(tmp_path / "bad.npz")


def test_only_old_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    old, young = tmp_path / ".old.tmp", tmp_path / ".young.tmp"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    files.remove_stale(tmp_path)
    assert not old.exists()
    assert young.exists()
