"""Hostile and broken submissions are refused with their reason; none crashes, and nothing is written anywhere."""

import json
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import ArbenchError
from harness.records import packs
from harness.records.store import Store
from harness.records.submissions import admit
from reports import table
from tests.helpers import submitting
from tests.helpers.submitting import Members, forged, members, npy, packed, refused, setting


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A submission of three trials that were really run."""
    with submitting.measured(tmp_path_factory.mktemp("measured")) as store:
        yield submitting.submitted(store, tmp_path_factory.mktemp("valid"))


def energy(joules: float | None, ends: list[float]) -> dict[str, Any]:
    return {"joules_per_image": joules, "joules_per_image_interval": ends}


def second(record: Any, **latency: float) -> dict[str, Any]:
    """A second clock that is the first one but for these values of its latency."""
    timing = record["timing"]
    return {"latency": {**timing["latency"], **latency}, "throughput": timing["throughput"]}


def linked(pack: zipfile.ZipFile) -> None:
    member = zipfile.ZipInfo("3/thumbnails.npy")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    pack.writestr(member, "/etc/passwd")


def crowded(pack: zipfile.ZipFile) -> None:
    for place in range(31_000):
        pack.writestr(f"x{place}", "")


SCRIPT = "<script>alert(1)</script>"
HOSTILE: dict[str, tuple[Callable[[Members], Members], str]] = {
    "a script in the name": (lambda m: forged(m, setting("name", to=SCRIPT)), "no plain text"),
    "a script in the method": (lambda m: forged(m, setting("trial", "method", to=SCRIPT)), "no plain text"),
    "a script in a title": (lambda m: forged(m, setting("method", "title", to="x<img src=x onerror=y>")), "plain text"),
    "a script in a knob": (lambda m: forged(m, setting("trial", "knobs", SCRIPT, to=1)), "no plain name"),
    "a quote in a knob": (lambda m: forged(m, setting("trial", "knobs", "shade", to='" onload="x')), "knob 'shade'"),
    "a path in the name": (lambda m: forged(m, setting("name", to="../../x[preset=tiny,seed=0]")), "canonical name"),
    "a path in the method": (lambda m: forged(m, setting("trial", "method", to="../../x")), "no name of a method"),
    "a path in the key": (lambda m: forged(m, setting("key", to="../../../../etc/passwd")), "key: no sha256"),
    "a path as a member": (lambda m: {**m, "../../evil.json": b"{}"}, "no name of a member"),
    "an absolute member": (lambda m: {**m, "/etc/evil": b"{}"}, "no name of a member"),
    "a backslash": (lambda m: {**m, "0\\..\\x.npy": b"{}"}, "no name of a member"),
    "a forged key": (lambda m: forged(m, setting("key", to="a" * 64)), "not the digest"),
    "another's settings": (lambda m: forged(m, setting("trial", "seed", to=1)), "name of another trial"),
    "forged identity": (lambda m: forged(m, setting("identity", "generate", "seed", to=1), True), "other settings"),
    "other weights": (
        lambda m: forged(m, setting("identity", "generate", "weights", to={"x": "0" * 64}), True),
        "other weights",
    ),
    "not a number": (lambda m: {**m, "0/record.json": b'{"a": NaN}'}, "NaN is no number"),
    "infinity": (lambda m: {**m, "0/record.json": b'{"a": -Infinity}'}, "Infinity is no number"),
    "a huge float": (lambda m: {**m, "0/record.json": b'{"a": 1e999}'}, "too large"),
    "a huge integer": (lambda m: {**m, "0/record.json": b'{"a": ' + b"9" * 5000 + b"}"}, "too large"),
    "deep JSON": (lambda m: {**m, "0/record.json": b'{"a":' * 40 + b"1" + b"}" * 40}, "nested more than"),
    "very deep JSON": (lambda m: {**m, "0/record.json": b"[" * 200_000 + b"]" * 200_000}, "nested more than"),
    "no UTF-8": (lambda m: {**m, "0/record.json": b'{"a": "\xff\xfe"}'}, "no JSON in UTF-8"),
    "a key twice": (lambda m: {**m, "0/record.json": b'{"a": 1, "a": 2}'}, "a key occurs twice"),
    "a list for a record": (lambda m: {**m, "0/record.json": b"[1]"}, "no JSON object"),
    "a control character": (lambda m: forged(m, setting("method", "title", to="a\x00b")), "no plain text"),
    "text that runs backwards": (lambda m: forged(m, setting("method", "title", to="a\u202eb")), "no plain text"),
    "a marked record": (lambda m: forged(m, setting("submission", to={"verified": {"at": "now"}})), "no part of"),
    "a failed trial": (lambda m: forged(m, setting("status", to="failed")), "did not finish"),
    "an unknown status": (lambda m: forged(m, setting("status", to=1)), "did not finish"),
    "no trial": (lambda m: forged(m, lambda record: record.pop("trial")), "'trial' is missing"),
    "a negative FID": (lambda m: forged(m, setting("quality", "fid", "tiny", to=-1)), "quality: fid"),
    "a precision over 1": (lambda m: forged(m, setting("quality", "precision", to=1.5)), "quality: precision"),
    "true for a score": (lambda m: forged(m, setting("quality", "is", to=True)), "quality: is"),
    "a forged FID": (lambda m: forged(m, setting("quality", "fid", "tiny", to=0.5)), "not that of its replicates"),
    "forged FLOPs": (lambda m: forged(m, setting("flops", "macs", to=1.0)), "not twice"),
    "forged parts": (lambda m: forged(m, setting("flops", "by_part", to={"ffn": 1.0})), "do not make the whole"),
    "bytes of another number of steps": (
        lambda m: forged(m, setting("flops", "bytes", "weights", to=[1.0] * 9)),
        "not one number for each step",
    ),
    "a floor that no device has": (
        lambda m: forged(m, setting("timing", "rates", to={"bandwidth": 1.0, "matrix": 1.0, "cache": 0})),
        "floor_share_b1 = ",
    ),
    "rates that are none": (
        lambda m: forged(m, setting("timing", "rates", to={"bandwidth": -1.0, "matrix": 1.0})),
        "rates of the device are not",
    ),
    "an unknown part": (lambda m: forged(m, setting("flops", "by_part", to={"magic": 320.0})), "parts are not of"),
    "a forged time": (lambda m: forged(m, setting("timing", "latency", "total_s", to=1e-6)), "not the median"),
    "a flag that is none": (lambda m: forged(m, setting("quality", "flags", to=[["x"]])), "flags is not texts"),
    "noise in words": (lambda m: forged(m, setting("timing", "noisy", to="yes")), "noisy is not flag"),
    "a spread in words": (lambda m: forged(m, setting("generate", "steps_std", to="0")), "steps_std is not number"),
    "a machine of lists": (
        lambda m: forged(m, setting("provenance", "machine", "cores", to=[])),
        "cores is not number",
    ),
    "disturbances of other rounds": (
        lambda m: forged(m, setting("timing", "latency", "disturbances", to={"steal": [0.0] * 99})),
        "not one number for each sample",
    ),
    "disturbances in words": (
        lambda m: forged(m, setting("timing", "latency", "disturbances", to={"steal": ["x"]})),
        "disturbances is not columns",
    ),
    "a pace of other rounds": (
        lambda m: forged(m, setting("timing", "latency", "pace", to=[1.0] * 99)),
        "not one for each sample",
    ),
    "a novel on noise": (lambda m: forged(m, setting("timing", "latency", "why", to="x" * 501)), "more than 500"),
    "a forged energy": (
        lambda m: forged(m, setting("timing", "throughput", "joules_per_image", to=-3.0)),
        "-3.0 joules an image (possible: 1e-09 to 1e+09)",
    ),
    "energy beside its interval": (
        lambda m: forged(m, lambda record: record["timing"]["throughput"].update(energy(9.0, [1.0, 2.0]))),
        "outside their interval",
    ),
    "an interval of no energy": (
        lambda m: forged(m, lambda record: record["timing"]["throughput"].update(energy(None, [1.0, 2.0]))),
        "outside their interval",
    ),
    "an interval of energy with three ends": (
        lambda m: forged(m, lambda record: record["timing"]["throughput"].update(energy(1.5, [1.0, 2.0, 3.0]))),
        "the interval of joules an image is none",
    ),
    "a forged eager time": (
        lambda m: forged(m, lambda record: record["timing"].update(eager=second(record, total_s=1e-6))),
        "eager latency is not the median",
    ),
    "half an eager clock": (
        lambda m: forged(m, setting("timing", "eager", to={"latency": None, "throughput": None})),
        "not of our schema",
    ),
    "forged percentiles": (
        lambda m: forged(m, setting("timing", "latency", "percentiles", to={"p99": 1e-6})),
        "percentiles of latency are not those of its samples",
    ),
    "a novel on the eager clock": (
        lambda m: forged(m, setting("timing", "eager_why", to="x" * 501)),
        "why there are no eager times takes more than 500 characters",
    ),
    "percentiles of too few samples": (
        lambda m: forged(m, setting("timing", "latency", "percentiles", to={"p90": 0.0, "p99": 0.0})),
        "percentiles of latency are not those of its samples",
    ),
    "a percentile that is none of ours": (
        lambda m: forged(m, setting("timing", "latency", "percentiles", to={"p42": 0.0})),
        "percentiles of latency are not those of its samples",
    ),
    "tokens in less than no time": (
        lambda m: forged(m, setting("timing", "latency", "tokens_s", to=-1.0)),
        "latency_tokens = -1 (possible: 0 to 1e+09)",
    ),
    "an interval of a rate that has one end": (
        lambda m: forged(m, setting("timing", "throughput", "images_per_s_interval", to=[1.0])),
        "not of our schema (IndexError",
    ),
    "an interval of a rate the wrong way round": (
        lambda m: forged(m, setting("timing", "throughput", "images_per_s_interval", to=[2.0, 1.0])),
        "throughput: its interval is none",
    ),
    "an unknown mode": (
        lambda m: forged(m, setting("timing", "capture", to={"mode": "magic", "why": None, "alike": 1.0})),
        "capture has mode 'magic' (valid: graph, compile, off)",
    ),
    "more images alike than there are": (
        lambda m: forged(m, setting("timing", "capture", to={"mode": "graph", "why": None, "alike": 7.0})),
        "7.0 of the images alike",
    ),
    "a novel on capturing": (
        lambda m: forged(m, setting("timing", "capture", to={"mode": "off", "why": "x" * 501, "alike": 1.0})),
        "why it was not captured",
    ),
    "no samples": (lambda m: forged(m, setting("timing", "latency", "samples", to=[])), "not seconds"),
    "text for samples": (
        lambda m: forged(m, setting("timing", "latency", "samples", to=["x"])),
        "samples is not numbers",
    ),
    "from the future": (
        lambda m: forged(m, setting("provenance", "finished", to="2999-01-01T00:00:00+00:00")),
        "future",
    ),
    "more images than there are": (
        lambda m: forged(
            m, lambda r: (r["trial"].update(images=10**7), r["identity"]["generate"].update(images=10**7)), True
        ),
        "not one for each",
    ),
    "random weights": (lambda m: forged(m, setting("trial", "setup", "weights", to="random")), "random weights"),
    "pickled objects": (lambda m: {**m, "0/labels.npy": npy(np.array([{}] * 28), allow_pickle=True)}, "object"),
    "an array that lies": (lambda m: {**m, "0/labels.npy": m["0/labels.npy"].replace(b"(28,)", b"(99,)")}, "it is"),
    "a huge array": (
        lambda m: {**m, "0/labels.npy": m["0/labels.npy"].replace(b"(28,), }      ", b"(9999999999,), }")[:128]},
        "refused",
    ),
    "a cut array": (lambda m: {**m, "0/labels.npy": m["0/labels.npy"][:-1]}, "it is"),
    "no array": (lambda m: {**m, "0/labels.npy": b"hello"}, "refused"),
    "code in a header": (
        lambda m: {**m, "0/labels.npy": m["0/labels.npy"].replace(b"'descr'", b"exit(1)")},
        "refused",
    ),
    "not finite replicates": (
        lambda m: {**m, "0/replicates is.npy": npy(np.full(1000, np.nan, np.float32))},
        "not 1,000 numbers",
    ),
    "a thumbnail too large": (
        lambda m: {**m, "0/thumbnails.npy": npy(np.zeros((1, 1, 600, 600), np.uint8))},
        "600 by 600 pixels",
    ),
    "thumbnails of floats": (
        lambda m: {**m, "0/thumbnails.npy": npy(np.zeros((1, 1, 4, 4), np.float32))},
        "thumbnails",
    ),
    "another array": (lambda m: {**m, "0/evil.npy": npy(np.zeros(4, np.float32))}, "no array of a record"),
    "no thumbnails": (lambda m: {name: one for name, one in m.items() if name != "0/thumbnails.npy"}, "KeyError"),
    "a record without JSON": (lambda m: {name: one for name, one in m.items() if name != "0/record.json"}, "missing"),
    "a gap": (lambda m: {name: one for name, one in m.items() if not name.startswith("1/")}, "numbered"),
    "a bomb of JSON": (lambda m: {**m, "0/record.json": b'{"a": "' + b"x" * 2**21 + b'"}'}, "more than"),
    "a bomb of an array": (lambda m: {**m, "0/labels.npy": bytes(2**24 + 2)}, "more than"),
    "a long text": (lambda m: forged(m, setting("method", "title", to="x" * 30_000)), "no plain text"),
    "two of one trial": (
        lambda m: {**m, **{name.replace("0/", "3/", 1): one for name, one in m.items() if name.startswith("0/")}},
        "two records of this trial",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_for_its_reason(case: str, valid: Path, tmp_path: Path) -> None:
    make, reason = HOSTILE[case]
    assert reason in refused(packed(tmp_path, make(members(valid))), tmp_path)


def test_links_doubles_and_bombs_of_the_zip_itself_are_refused(valid: Path, tmp_path: Path) -> None:
    content = members(valid)
    assert "link" in refused(packed(tmp_path / "a", content, linked), tmp_path / "a")
    with pytest.warns(UserWarning, match="Duplicate"):
        path = packed(tmp_path / "b", content, lambda pack: pack.writestr("0/record.json", b"{}"))
    assert "twice" in refused(path, tmp_path / "b")
    assert "31" in refused(packed(tmp_path / "c", content, crowded), tmp_path / "c")
    unhashed = packed(tmp_path / "d", content, lambda pack: pack.writestr("3/record.json", b"{}"))
    assert "name other members" in refused(unhashed, tmp_path / "d")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "nowhere", tmp_path, tmp_path / "pipe"):
        with pytest.raises(ArbenchError):
            admit(path, Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_unknown_parts_of_an_eager_clock_do_not_spoil_the_report(valid: Path, tmp_path: Path) -> None:
    """A record may have parts that are not declared, of any form. Nobody may rely on their form."""

    def change(record: Any) -> None:
        for kind in ("latency", "throughput"):
            record["timing"][kind]["noisy"] = False
        record["timing"]["eager"] = second(record) | {"x": 5, "y": [1], "z": {"noisy": True}}

    store = Store(tmp_path / "store")
    assert admit(packed(tmp_path, forged(members(valid), change)), store) == (3, 0)
    rows = table.tidy(store.records(), "tiny")
    assert not rows["eager_noisy"].any() and not rows["eager_disturbed"].any()
    assert rows["eager_latency"].notna().sum() == 1


LEAVES: list[Any] = [None, True, -1, 0, 2**63, 1e29, "", "x", SCRIPT, "../..", "\x07", [], {}, [[]], {"a": {}}]


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_record_of_which_any_checked_part_is_another_is_refused(
    data: st.DataObject, valid: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """120 files: a part of a record, at any depth, is replaced by something that it cannot be, or is gone."""
    content = members(valid)
    record = json.loads(content["0/record.json"])
    path = data.draw(st.sampled_from(CHECKED))
    owner = record
    for name in path[:-1]:
        owner = owner[name]
    if data.draw(st.booleans(), label="gone"):
        del owner[path[-1]]
    else:
        was = owner[path[-1]]
        owner[path[-1]] = data.draw(st.sampled_from([leaf for leaf in LEAVES if not alike(leaf, was)]))
    folder = tmp_path_factory.mktemp("part")
    refused(packed(folder, {**content, "0/record.json": json.dumps(record).encode()}), folder)


def alike(leaf: Any, was: Any) -> bool:
    """Whether a value could stand in another's place: the same, or zero for what is zero."""
    return bool(leaf == was) or (isinstance(was, float) and isinstance(leaf, int) and float(leaf) == was)


CHECKED = [
    ("name",), ("key",), ("identity",), ("status",), ("trial",), ("data",), ("method",), ("generate",), ("quality",),
    ("flops",), ("timing",), ("parameters",), ("provenance",), ("trial", "method"), ("trial", "preset"),
    ("trial", "knobs"), ("trial", "knobs", "steps"), ("trial", "sampling"), ("trial", "sampling", "cfg"),
    ("trial", "seed"), ("trial", "images"), ("trial", "setup"), ("trial", "setup", "labels"), ("method", "title"),
    ("identity", "generate"), ("identity", "generate", "weights"), ("identity", "generate", "source"),
    ("identity", "quality"), ("identity", "timing", "protocol"), ("generate", "images"), ("generate", "steps_mean"),
    ("quality", "fid"), ("quality", "fid", "tiny"), ("quality", "is"), ("quality", "intervals"),
    ("quality", "intervals", "is"), ("quality", "extractor"), ("flops", "macs"), ("flops", "flops"),
    ("flops", "by_part"), ("flops", "tokens_macs"), ("timing", "latency"), ("timing", "latency", "total_s"),
    ("timing", "latency", "samples"), ("timing", "throughput", "images_per_s"), ("provenance", "weights"),
    ("provenance", "finished"), ("provenance", "reference"), ("provenance", "extractors"), ("provenance", "commit"),
    ("provenance", "machine"),
]  # fmt: skip
"""The parts of a record that figures, names, files and pages depend on."""


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_file_of_which_any_byte_is_another_is_refused_or_says_the_same(
    data: st.DataObject, valid: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """100 files: cut, or with bytes changed, wherever. What a zip does not look at may change (times, padding); then
    the records are the same to the last bit."""
    content = bytearray(valid.read_bytes())
    if data.draw(st.booleans(), label="cut"):
        del content[data.draw(st.integers(0, len(content) - 1), label="at") :]
    else:
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8), label="at"):
            content[place] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("bytes")
    path = folder / "broken.arbench"
    path.write_bytes(content)
    store = Store(folder / "store")
    try:
        admit(path, store)
    except ArbenchError:
        assert [file.name for file in folder.iterdir()] == ["broken.arbench"]
        return
    for one, other in zip(packs.read(path).records, packs.read(valid).records, strict=True):
        assert one[0] == other[0]
        assert all(np.array_equal(one[1][name], other[1][name]) for name in other[1])


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=2000))
def test_any_bytes_are_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "any.arbench").write_bytes(content)
    refused(folder / "any.arbench", folder)
