"""Claims: a language in which nothing can be run, verdicts that follow records, published rows with sources."""

import argparse
import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import ArbenchError
from harness.records.store import REPLICATES, Store
from reports import commands, sheets, site
from reports.claims import page
from reports.claims.bundled import FILE, bundle, bundled_store
from reports.claims.claim import Claim, load, shipped
from reports.claims.evidence import Evidence
from reports.claims.expression import parse
from reports.claims.verdict import CONTRADICTED, NOT_MEASURED, REPRODUCED, UNDECIDED, WORDS, Verdict, judge
from reports.published import disagreements, published

CLAIMS = {claim.id: claim for claim in shipped()}


@pytest.fixture
def store() -> Iterator[Store]:
    with bundled_store() as found:
        yield found


def verdict(store: Store, claim: str) -> Verdict:
    return judge(CLAIMS[claim], Evidence(store))


def holds(text: str, **figures: float) -> bool:
    values = {("a", name): np.asarray(value) for name, value in figures.items()}
    return bool(parse(text).holds(values, 0.0))


def test_arithmetic_comparisons_and_logic() -> None:
    assert holds("a.fid < 2 * a.steps and not a.fid == 3", fid=3.5, steps=2.0)
    assert holds("max(a.fid, 1) - abs(-a.steps) <= 0 or 1 < a.fid < 2", fid=1.5, steps=0.1)
    assert not holds("a.is_ >= 7", **{"is": 6.9})


def test_every_comparison_grants_the_tolerance_relative_to_its_right_side() -> None:
    values = {("a", "fid"): np.asarray(10.4)}
    for text in ("a.fid <= 10", "a.fid < 10", "a.fid == 10"):
        assert parse(text).holds(values, 0.05)
        assert not parse(text).holds(values, 0.03)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "a.fid.real < 1", "(lambda: 1)() < 2", "a['fid'] < 1", "a.fid", "1 + 2",
        "open('x') < 1", "a.fid ** 9 < 1", "a.fid < 'x'", "a.fid < True", "a.fid in [1]", "[a.fid for a in b] < 1",
        "max(a.fid) < 1", "max(*a.fid) < 1", "a.fid < 1e400", "a.fid is 1", "(b := a.fid) < 1", "a.fid <", "",
        "(" * 300 + "a.fid < 1" + ")" * 300, "-" * 50 + "a.fid < 1", "a.fid < " + "1 + " * 200 + "1", "f'{a.fid}' < 1",
        "a.fid < 10 ** 9 ** 9", "1 if a.fid < 1 else 2", "a.fid < 1j", "\0 < 1",
    ],
)  # fmt: skip
def test_what_is_not_of_the_language_is_refused(text: str) -> None:
    with pytest.raises(ArbenchError, match="expression"):
        parse(text)


def test_a_division_by_zero_is_no_contradiction(tmp_path: Path) -> None:
    claim = written(tmp_path, expression="a.params / (a.steps - a.steps) < 1", **MODEL)
    assert judge(claim, Evidence(None)).word == NOT_MEASURED


MODEL = {"models": {"a": {"method": "raster", "preset": "fmnist"}}}


def written(folder: Path, **given: Any) -> Claim:
    """A claim from a file that says these things of it."""
    about = {"id": "it", "statement": "It is so.", "source": "table 1", "scale": "fmnist"} | given
    lines = [f"{name} = {_toml(value)}" for name, value in about.items()]
    path = folder / "claims.toml"
    path.write_text('paper = "P"\nlink = "https://arxiv.org/abs/1"\n[[claims]]\n' + "\n".join(lines))
    return load([path])[0]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(part)}" for name, part in value.items()) + " }"
    return json.dumps(value)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"expression": "b.params < 1", **MODEL}, "unknown name in the expression 'b'.*valid: a"),
        ({"expression": "a.fid < 1", **MODEL}, "unknown figure of models 'fid'.*valid: gmacs"),
        ({"expression": "a.params < 1", "models": {"a": {"method": "raster"}}}, "'preset' is missing"),
        ({"expression": "a.params < 1", "scale": "moon", **MODEL}, "unknown scale 'moon'.*valid: fmnist, paper"),
        ({"expression": "a.params < 1", "tolerance": 2, **MODEL}, "tolerance = 2"),
        ({"expression": "a.params < 1", "colour": "red", **MODEL}, "unknown key 'colour'"),
        ({"expression": "a.params < 1", "id": "<b>", **MODEL}, "small letters"),
        ({"expression": "a.params < 1", "source": "", **MODEL}, "'source' is missing"),
        ({"expression": "1 < 2", **MODEL}, "'a' does not occur"),
    ],
)
def test_a_faulty_claim_is_told_by_file_and_fault(given: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ArbenchError, match=rf"claims\.toml: claim .*{complaint}"):
        written(tmp_path, **given)


def test_every_shipped_claim_has_a_verdict_on_the_bundled_store(store: Store) -> None:
    evidence = Evidence(store)
    verdicts = {claim.id: judge(claim, evidence) for claim in CLAIMS.values()}
    assert {one.word for one in verdicts.values()} <= set(WORDS)
    small = [one for one in verdicts.values() if one.claim.scale == "fmnist"]
    assert len(small) > 12
    assert [one.claim.id for one in small if one.word == NOT_MEASURED] == []
    assert all(one.missing for one in verdicts.values() if one.word == NOT_MEASURED)
    assert all(one.claim.checks for one in small), "what is checked at small scale is said"
    weightless = [
        one
        for one in verdicts.values()
        if {part.kind for part in one.claim.operands.values()} <= {"models", "published"}
    ]
    assert len(weightless) > 15
    assert [one.claim.id for one in weightless if one.word not in (REPRODUCED, CONTRADICTED)] == []


def test_the_bundled_records_are_small_and_come_from_the_bundled_weights(store: Store) -> None:
    assert FILE.stat().st_size < 2e6
    assert {record["trial"]["preset"] for record in store.records()} == {"fmnist"}
    assert not any(name.startswith("thumb") for record in store.records() for name in store.arrays(record))


def change(store: Store, name: str, figure: str, factor: float) -> None:
    """Multiply a figure of the records whose names begin so, its replicates or samples with it."""
    changed = 0
    for record in store.records():
        if not record["name"].startswith(name):
            continue
        arrays, changed = store.arrays(record), changed + 1
        if figure == "fid":
            for extractor in record["quality"]["fid"]:
                record["quality"]["fid"][extractor] *= factor
                arrays[f"{REPLICATES}fid.{extractor}"] *= factor
        elif figure == "macs":
            for part in ("macs", "flops", "tokens_macs"):
                record["flops"][part] *= factor
        else:
            for kind in ("latency", "throughput"):
                timed = record["timing"][kind]
                timed["total_s"] *= factor
                timed["samples"] = [one * factor for one in timed["samples"]]
            record["timing"]["throughput"]["images_per_s"] /= factor
        store.write(record, arrays)
    assert changed == 1


FLIPS = [
    ("ear-spiral-raster-7", "raster-blocks[preset=fmnist,steps=7,", "fid", 3.0),
    ("ear-fidelity", "raster[preset=fmnist,", "fid", 2.0),
    ("ear-speed", "raster[preset=fmnist,", "time", 0.1),
    ("ear-computation-small", "raster[preset=fmnist,", "macs", 2.0),
    ("actvar-flops", "var[preset=fmnist,", "macs", 0.8),
    ("actvar-time", "var[preset=fmnist,", "time", 2.0),
    ("actvar-content-tokens", "actvar-random[preset=fmnist,ffn_sparsity=0,token_sparsity=0.5", "fid", 2.0),
    ("rar-raster-beats-spiral", "raster-blocks[preset=fmnist,steps=49,", "fid", 3.0),
    ("par-distant-tokens", "raster-blocks[preset=fmnist,steps=13,", "fid", 3.0),
    ("var-speed", "var[preset=fmnist,", "time", 3.0),
]


@pytest.mark.parametrize(("claim", "name", "figure", "factor"), FLIPS, ids=[one[0] for one in FLIPS])
def test_changing_a_record_flips_the_claims_that_rest_on_it_and_no_other(
    claim: str, name: str, figure: str, factor: float, store: Store
) -> None:
    small = [one for one in CLAIMS.values() if one.scale == "fmnist"]
    before = {one.id: verdict(store, one.id) for one in small}
    (key,) = [record["key"] for record in store.records() if record["name"].startswith(name)]
    change(store, name, figure, factor)
    after = {one.id: verdict(store, one.id) for one in small}
    decided = {REPRODUCED, CONTRADICTED}
    assert after[claim].word in decided
    assert before[claim].word in {*decided, UNDECIDED} - {after[claim].word}
    flipped = {one.id for one in small if before[one.id].word != after[one.id].word}
    resting = {one.id for one in small if any(key in part.keys for part in before[one.id].figures)}
    assert claim in flipped <= resting


def test_a_difference_within_chance_is_undecided(store: Store) -> None:
    (record,) = [one for one in store.records() if one["name"].startswith("raster-blocks[preset=fmnist,steps=13")]
    (spiral,) = [one for one in store.records() if one["name"].startswith("ear[preset=fmnist,steps=13,adaptive=0")]
    fids = [one["quality"]["fid"]["fmnist-cnn"] for one in (spiral, record)]
    change(store, "raster-blocks[preset=fmnist,steps=13,", "fid", fids[0] / fids[1])
    assert verdict(store, "ear-spiral-raster-13").word == UNDECIDED


def test_what_was_not_measured_is_named(store: Store) -> None:
    for path in store.records_folder.glob("raster-blocks*steps=7*"):
        path.unlink()
    found = verdict(store, "ear-spiral-raster-7")
    assert found.word == NOT_MEASURED
    assert found.missing == "a record of raster-blocks (preset fmnist, steps 7)"


def test_submitted_records_are_no_evidence_until_they_are_verified(store: Store) -> None:
    (record,) = [one for one in store.records() if one["name"].startswith("var[")]
    arrays = store.arrays(record)
    store.write({**record, "submission": {"by": "somebody", "verified": None}}, arrays)
    assert verdict(store, "var-speed").word == NOT_MEASURED
    store.write({**record, "submission": {"by": "somebody", "verified": {"at": "2026-01-01"}}}, arrays)
    assert verdict(store, "var-speed").word == REPRODUCED


def test_times_of_two_machines_are_not_compared(store: Store) -> None:
    (record,) = [one for one in store.records() if one["name"].startswith("var[")]
    record["timing"]["machine"] = {**record["provenance"]["machine"], "processor": "another"}
    store.write(record)
    assert verdict(store, "var-speed").missing == "times of one machine (these were taken on several)"
    assert verdict(store, "var-fidelity").word != NOT_MEASURED


def test_bundling_a_store_keeps_what_claims_rest_on(store: Store, tmp_path: Path) -> None:
    before = {claim: verdict(store, claim).word for claim in CLAIMS}
    count = bundle(store, tmp_path / "again.zip")
    assert count == len(store.records())
    with bundled_store(tmp_path / "again.zip") as again:
        assert {claim: verdict(again, claim).word for claim in CLAIMS} == before


def test_the_command_prints_the_table_and_fails_where_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    commands.add(parser.add_subparsers())

    def exit_code(*arguments: str) -> int:
        asked = parser.parse_args(["claims", *arguments])
        return int(asked.run(asked))

    assert exit_code() == 0
    table = capsys.readouterr().out
    assert all(claim in table for claim in CLAIMS)
    assert table.splitlines()[-1].startswith(f"{len(CLAIMS)} claims: ")
    assert exit_code("--fail-on-contradiction", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert {one["id"]: one["verdict"] for one in found}["ear-spiral-raster-7"] == CONTRADICTED
    Store(tmp_path).prepare()
    assert exit_code("--store", str(tmp_path)) == 0
    with pytest.raises(ArbenchError, match="is no store"):
        exit_code("--store", str(tmp_path / "nowhere"))


def test_a_claim_is_not_judged_on_records_of_two_arithmetics(store: Store) -> None:
    before = verdict(store, "ear-spiral-raster-7")
    assert before.word != NOT_MEASURED
    for record in store.records():
        if record["trial"]["method"] == "ear":
            arrays = store.arrays(record)
            record["trial"]["setup"] = {**record["trial"]["setup"], "tf32": "on"}
            store.write(record, arrays)
    after = verdict(store, "ear-spiral-raster-7")
    assert after.word == NOT_MEASURED
    assert after.missing.startswith("records of one precision and use of TF32 (")
    assert "fp32 with tf32 off" in after.missing and "fp32 with tf32 on" in after.missing


def test_the_page_of_claims_has_every_verdict_and_links_to_the_trials_behind_it(store: Store, tmp_path: Path) -> None:
    (sheet,) = page.sheets(site.read(store.folder), tmp_path)
    sheets.write([sheet], tmp_path)
    text = (tmp_path / "claims.html").read_text()
    for claim in CLAIMS.values():
        assert f'<tr id="{claim.id}">' in text
        assert html.escape(claim.expression.text, quote=False) in text
    for record in store.records():
        assert f'href="trial.html#{site.short(record["key"])}"' in text
    assert "scaled down to preset fmnist" in text
    assert "3.3 to 3.61" in text


def test_published_rows_have_sources_and_their_disagreements_are_told() -> None:
    rows = published()
    assert all(row.source and row.provenance for row in rows)
    found = {(one.checkpoint, one.low, one.high) for one in disagreements(rows)}
    assert ("var_d16.pth", 3.30, 3.61) in found
    assert ("c2i_L_256.pt", 3.8, 6.84) in found


def test_a_published_row_without_a_source_is_refused(tmp_path: Path) -> None:
    lines = (Path(commands.__file__).parent / "published.csv").read_text().splitlines()[:2]
    path = tmp_path / "published.csv"
    path.write_text("\n".join([lines[0], lines[1].rpartition(",")[0] + ","]))
    with pytest.raises(ArbenchError, match=r"row 1: a published row has a source"):
        published(path)


def test_the_stores_own_files_are_left_alone(store: Store) -> None:
    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    verdict(store, "var-speed")
    assert {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()} == before
