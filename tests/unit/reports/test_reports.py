"""The report, from a made-up store to its files."""

import argparse
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from harness.errors import ArbenchError
from harness.records.comparison import differences
from harness.records.store import Store
from reports import commands
from reports.build import build
from tests.helpers import fakes_store

HOSTILE = '<script>alert("x")</script> $\\frac$ & "quotes"'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report with spaces & ünicode")
    return build(fakes_store.write(folder / "store"), folder / "site").parent


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are empty files: to draw them takes most of a report's time, and other tests look at them."""
    monkeypatch.setattr(Figure, "draw_without_rendering", lambda figure: None)
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: path.touch())


def data(site: Path, name: str) -> Any:
    """What a script of data/ hands over."""
    text = (site / "data" / f"{name}.js").read_text()
    found = re.fullmatch(r"arbench\.data\['[\w-]+'\]=JSON\.parse\('(.*)'\);\n", text, re.DOTALL)
    assert found
    return json.loads(re.sub(r"\\(.)", r"\1", found[1]))


def board(site: Path) -> list[dict[str, Any]]:
    """The leaderboard's rows, as its script reads them."""
    columns, figures = (data(site, "leaderboard")[name] for name in ("columns", "figures"))
    whole = {n: c if isinstance(c, list) else [c["words"][at] for at in c["at"]] for n, c in columns.items()}
    whole |= {name: values for name, (values, _, _) in figures.items() if values}
    return [dict(zip(whole, row, strict=True)) for row in zip(*whole.values(), strict=True)]


def trial(site: Path, record: Mapping[str, Any]) -> Any:
    """What a trial's page is told."""
    values = data(site, "shared")["values"]

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            return values[value["shared"]] if set(value) == {"shared"} else {n: whole(v) for n, v in value.items()}
        return value

    return whole(data(site, f"trial-{record['key'][:12]}"))


class Links(HTMLParser):
    """What a page refers to: files it loads, places it links to, places that exist."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.hrefs: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.loads += [given["src"]] if "src" in given else []
        if "href" in given:
            (self.loads if tag == "link" else self.hrefs).append(given["href"])


def test_every_file_that_a_page_names_is_there(site: Path) -> None:
    pages = sorted(site.glob("*.html"))
    assert {"index.html", "frontier.html", "methods.html", "compare.html", "trial.html"} <= {p.name for p in pages}
    for page in pages:
        links = Links(page.read_text())
        named = [link for link in [*links.loads, *links.hrefs] if not link.startswith(("#", "https://arxiv.org/abs/"))]
        paths = [link.partition("#")[0] for link in named if link != "data:,"]
        assert [link for link in paths if not (site / link).is_file()] == []
        assert len(links.ids) == len(set(links.ids))
        assert {link[1:] for link in links.hrefs if link.startswith("#")} <= set(links.ids)


def test_every_figure_is_there_for_screen_and_print(site: Path) -> None:
    wanted = {f"{y}-{x}" for y in ("fid", "is") for x in ("steps", "gflops", "latency", "throughput")}
    wanted |= {"fid-ffn_sparsity", "fid-token_sparsity", "fid-gflops-sparse", "fid-latency-sparse"}
    made = {path.name for path in (site / "figures").iterdir()}
    assert {f"{name}.{kind}" for name in wanted for kind in ("svg", "png", "pdf")} <= made


def test_no_trial_is_left_out(site: Path) -> None:
    listed = {row["key"]: row for row in board(site)}
    for record in fakes_store.records():
        key = record["key"][:12]
        assert listed[key]["status"] == record["status"]
        assert data(site, f"trial-{key}")["name"] == record["name"]
    assert "70 trials (2 failed)" in " ".join((site / "index.html").read_text().split())
    assert "shard 3 of 5 is missing" in (site / "measured.html").read_text()


def test_a_trial_says_all_that_its_record_says(site: Path) -> None:
    record = fakes_store.records()[8]
    found = trial(site, record)
    for part in ("trial", "method", "parameters"):
        assert found[part] == record[part]
    assert found["flops"]["by_part"] == pytest.approx(record["flops"]["by_part"], rel=1e-4)
    assert found["timing"]["latency"]["samples"] == pytest.approx(record["timing"]["latency"]["samples"], rel=1e-4)
    assert found["provenance"] == {n: v for n, v in record["provenance"].items() if n != "machine"}
    assert found["figures"]["fid"] == pytest.approx(
        [record["quality"]["fid"]["fmnist-cnn"] * f for f in (1, 0.98, 1.02)], rel=1e-4
    )
    assert found["images"]["count"] == 20
    failed = fakes_store.records()[-1]
    said = trial(site, failed)
    assert said["failure"]["stage"] == "generate"
    assert "& so on" in said["failure"]["log"]


def test_floors_stand_beside_times_and_older_records_have_none(site: Path) -> None:
    told = {measure["name"]: measure for measure in data(site, "leaderboard")["measures"]}
    assert told["floor_b1"]["title"] == "Floor b1 (ms)" and told["floor_share_b64"]["better"] == "high"
    columns = data(site, "leaderboard-more")
    shares = [row for row in zip(*columns["floor_share_b1"], strict=True) if row[0] is not None]
    assert len(shares) == 3 and all(low < share < high for share, low, high in shares)
    for record in fakes_store.records():
        if record["status"] == "done":
            found = trial(site, record)
            assert ("floor_b1" in found["figures"]) == (record["trial"]["method"] == "var")
            assert ("bytes" in found["flops"]) == (record["trial"]["method"] == "var")
    assert "at the memory bandwidth and matrix rate" in (site / "measured.html").read_text()


def test_the_head_says_what_was_measured_where_and_with_which_code(site: Path) -> None:
    page = (site / "index.html").read_text()
    lead = page[page.index('class="lead"') : page.index("</header>")]
    for said in ("8 visual autoregressive methods", "5,000 images", "Intel Xeon 4210", "e928e1c0ffee", "fmnist"):
        assert said in lead
    for path in [*site.glob("*.html"), *(site / "data").glob("*.js")]:
        assert "lab-7" not in path.read_text(), "a host's name is nobody's business"


def test_floor_and_ceiling_stand_in_the_leaderboard(site: Path) -> None:
    limits = {one["title"]: one["figures"] for one in data(site, "leaderboard")["limits"]}
    assert limits["Floor: tokenizer vq-49"] == {"fid": 5.1}
    assert limits["Ceiling: test images"] == {"is": 9.24, "label_accuracy": pytest.approx(93.1)}


def test_published_rows_are_a_set_of_their_own_with_their_source(site: Path) -> None:
    published = [row for row in board(site) if row["source"] == "published"]
    assert len(published) > 20
    assert {row["set"] for row in published} == {-1}
    assert all(row["note"] and row["fid"] and not row["key"] and not row["standing"] for row in published)
    assert {row["set"] for row in board(site) if row["source"] == "measured"} == {0}


def test_badges_are_the_standings_of_the_frontier(site: Path) -> None:
    codes = [row["standing"] for row in board(site) if row["source"] == "measured"]
    assert {code[place : place + 2] for code in codes for place in range(0, len(code), 2)} >= {"on", "un", "of"}


def test_the_leaderboard_as_csv_holds_one_row_a_method(site: Path) -> None:
    best = pd.read_csv(site / "leaderboard.csv")
    assert sorted(best["method"]) == sorted(fakes_store.TITLES)
    assert best["FID (fmnist-cnn)"].is_monotonic_increasing
    assert len(pd.read_csv(site / "trials.csv")) == 70
    assert [row["method"] for row in board(site) if row["best"] and row["key"]]


def test_differences_on_the_page_are_those_of_the_comparison(site: Path) -> None:
    paired = data(site, "compare")["paired"]
    store = Store(site.parent / "store")
    by_key = {record["key"][:12]: record for record in store.records()}
    one, other = by_key[paired[0]], by_key[paired[1]]
    expected = {d.figure: d for d in differences((one, store.arrays(one)), (other, store.arrays(other)))}
    found = {line[0]: line[1:] for line in data(site, f"pairs-{paired[0]}")[paired[1]]}
    assert set(found) == set(expected)
    apart, low, high, both, better = found["fid.fmnist-cnn"]
    same = expected["fid.fmnist-cnn"]
    assert (low, apart, high) == pytest.approx((same.low, same.other - same.one, same.high), rel=1e-4)
    assert (both, better) == (same.paired, same.better)


def test_a_method_shows_how_its_images_came_about(site: Path) -> None:
    traces = data(site, "method-actvar")["traces"]
    trace = data(site, f"trace-{traces[0]['key']}")
    assert trace["grids"] == [1, 2, 3, 4, 5, 7]
    assert len(trace["order"][0]) == 104 == len(trace["tokens"][0][0])
    assert trace["experts_of"] == 4
    assert data(site, "method-raster")["traces"] == [], "a method that told nothing has no animation"


def test_the_same_store_gives_the_same_bytes(site: Path, tmp_path: Path) -> None:
    again = build(site.parent / "store", tmp_path / "again").parent
    for path in sorted(site.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(site)).read_bytes(), path.name


def test_hostile_text_is_shown_and_never_run(tmp_path: Path) -> None:
    made = fakes_store.records()[:6]
    for record in made:
        record["trial"]["method"] = record["method"]["title"] = record["method"]["paper"] = HOSTILE
        record["trial"]["knobs"] = {HOSTILE: HOSTILE, "steps": 49}
        record["provenance"]["command"] = [HOSTILE]
        record["method"]["differences"] = HOSTILE
        record["key"] = "../../" + record["key"]
        record["name"] = HOSTILE + record["name"]
    fakes_store.fail(made[5], HOSTILE, HOSTILE)
    facts = {"is": 9.0, "tokenizers": {HOSTILE: {"rfid": 5.0}}}
    out = build(fakes_store.write(tmp_path / "store", made, facts), tmp_path / "site")
    for page in out.parent.glob("*.html"):
        scripts = re.findall(r"<script([^>]*)>([^<]*)</script>", page.read_text())
        assert all(
            re.fullmatch(r' src="(static|data)/[\w.-]+\.js"( defer)?', tag) and not text for tag, text in scripts
        )
        assert page.read_text().count("<script") == len(scripts)
    for path in (out.parent / "data").glob("*.js"):
        assert not set("<>&") & set(path.read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site", "store"]
    for svg in (tmp_path / "site" / "figures").glob("*.svg"):
        assert "<script" not in svg.read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_store_where_all_failed_still_gives_pages_that_say_so(tmp_path: Path) -> None:
    made = fakes_store.records()[:3]
    for record in made:
        fakes_store.fail(record, "generate", "out of memory")
    out = build(fakes_store.write(tmp_path / "store", made, {}), tmp_path / "site")
    assert "No trial that has scores has finished yet." in out.read_text()
    assert "no reference.json" in out.read_text()
    assert (out.parent / "measured.html").read_text().count("out of memory") == 3


@pytest.mark.usefixtures("undrawn")
def test_missing_parts_are_dashes_and_the_page_says_how_many(tmp_path: Path) -> None:
    made = fakes_store.records()[:8]
    del made[0]["timing"]
    made[1]["flops"] = None
    made[2]["timing"]["noisy"] = True
    page = build(fakes_store.write(tmp_path / "store", made), tmp_path / "site").read_text()
    assert "Finished trials without time: 1" in page
    assert "Finished trials without FLOPs: 1" in page
    assert "Trials timed on a noisy machine (interval over 10 % of the median): 1" in page
    listed = {row["key"]: row for row in board(tmp_path / "site")}
    assert listed[made[2]["key"][:12]]["noisy"]
    assert listed[made[0]["key"][:12]]["latency"] is None


@pytest.mark.usefixtures("undrawn")
def test_a_noisy_row_says_what_disturbed_it(tmp_path: Path) -> None:
    made = fakes_store.records()[:3]
    for record, parts in zip(made, ({"why": "4 % steal, <b>5</b> of 12 samples disturbed"}, {}, None), strict=True):
        if parts is not None:
            record["timing"]["throughput"] |= {"noisy": True, **parts}
            record["timing"]["noisy"] = True
    samples = made[0]["timing"]["latency"]["samples"]
    made[0]["timing"]["latency"]["disturbances"] = {"steal": [0.0, 0.1 * samples[1], *([0.0] * 4)], "waited": None}
    out = build(fakes_store.write(tmp_path / "store", made), tmp_path / "site").parent
    notes = {row["key"]: row["note"] for row in board(out)}
    assert notes[made[0]["key"][:12]] == "noisy: batch 64: 4 % steal, <b>5</b> of 12 samples disturbed"
    assert notes[made[1]["key"][:12]] == "noisy: batch 64: the cause was not recorded"
    assert not notes[made[2]["key"][:12]]
    assert trial(out, made[0])["timing"]["latency"]["disturbed"] == [1]
    assert "disturbed" not in trial(out, made[1])["timing"]["latency"]


@pytest.mark.usefixtures("undrawn")
def test_energy_and_a_throttled_gpu_are_on_the_pages_and_older_records_have_neither(tmp_path: Path) -> None:
    made = fakes_store.records()[:3]
    energy = {"joules_per_image": 2.5, "joules_per_image_interval": [2.4, 2.6], "joules_per_image_runs": [2.5] * 3}
    state = {"sm_mhz": [1410, 1500, 1980], "watts": [600, 690, 701], "watts_limit": [700, 700, 700], "disturbed": True}
    why = "the GPU was throttled (power cap in 4 of 6 samples)"
    made[0]["timing"]["throughput"] |= {**energy, "gpu": state, "why": why}
    made[1]["timing"]["throughput"]["joules_per_image"] = 0.0
    out = build(fakes_store.write(tmp_path / "store", made), tmp_path / "site").parent
    assert "Trials timed on a GPU that was throttled, or that other processes used: 1, marked †." in (
        out / "index.html"
    ).read_text(encoding="utf-8")
    rows = {row["key"]: row for row in board(out)}
    listed = [rows[record["key"][:12]] for record in made]
    assert [(row["gpu_disturbed"], row["noisy"]) for row in listed] == [(True, False), (False, False), (False, False)]
    assert [row["note"] for row in listed] == [f"GPU disturbed: batch 64: {why}", "", ""]
    values, lows, highs = data(out, "leaderboard-more")["joules"]
    assert [one for one in zip(lows, values, highs, strict=True) if one[1] is not None] == [(2.4, 2.5, 2.6)]
    assert trial(out, made[0])["figures"]["joules"] == [2.5, 2.4, 2.6]
    assert trial(out, made[0])["timing"]["throughput"]["gpu"]["sm_mhz"] == [1410, 1500, 1980]
    assert "joules" not in trial(out, made[1])["figures"]
    assert "joules:low" in (out / "trials.csv").read_text().splitlines()[0]


@pytest.mark.usefixtures("undrawn")
def test_trials_of_another_number_of_images_are_a_set_of_their_own(tmp_path: Path) -> None:
    made = fakes_store.records()[:10]
    made[0]["trial"]["images"] = 200
    made[0]["quality"]["fid"]["fmnist-cnn"] = 0.1
    page = build(fakes_store.write(tmp_path / "store", made), tmp_path / "site").read_text()
    assert "Not compared with the rest: 1 with data fmnist, 200 images" in page
    best = pd.read_csv(tmp_path / "site" / "leaderboard.csv")
    assert (best["images"] == fakes_store.IMAGES).all()
    assert {row["key"]: row["set"] for row in board(tmp_path / "site")}[made[0]["key"][:12]] == 1
    assert "200 images" in data(tmp_path / "site", "leaderboard")["sets"][1]["title"]


@pytest.mark.usefixtures("undrawn")
def test_guidance_is_drawn_where_it_was_crossed(tmp_path: Path) -> None:
    made = fakes_store.records()[:5]  # raster at three guidances, then ear at one
    build(fakes_store.write(tmp_path / "store", made), tmp_path / "site")
    assert (tmp_path / "site" / "figures" / "fid-cfg.svg").is_file()
    build(fakes_store.write(tmp_path / "other", made[2:]), tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "figures" / "fid-cfg.svg").exists()


@pytest.mark.usefixtures("undrawn")
def test_what_weakens_a_score_is_told_first(tmp_path: Path) -> None:
    made = fakes_store.records()[:3]
    made[0]["quality"]["flags"] = ["FID (fmnist-cnn): samples: 40 images for 128 dimensions"]
    page = build(fakes_store.write(tmp_path / "store", made), tmp_path / "site").read_text()
    notes = page[page.index('class="notes"') : page.index('id="leaderboard"')]
    assert "40 images for 128 dimensions (1 trial)." in notes
    assert data(tmp_path / "site", f"trial-{made[0]['key'][:12]}")["flags"] == made[0]["quality"]["flags"]


@pytest.mark.usefixtures("undrawn")
def test_what_weakens_a_figure_and_how_time_was_taken_stand_on_the_row(tmp_path: Path) -> None:
    made = fakes_store.records()[:3]
    made[0]["quality"]["flags"] = [f"FID: {HOSTILE}", "FID: once more", "IS: odd"]
    for record, alike in ((made[1], 1.0), (made[2], 0.875)):
        record["timing"] |= {"protocol": {"compile": "reduce-overhead"}, "compiled": {"seconds": 9.0, "alike": alike}}
    build(fakes_store.write(tmp_path / "store", made), tmp_path / "site")
    rows = {row["key"]: row for row in board(tmp_path / "site")}
    flagged, compiled, other = (rows[record["key"][:12]] for record in made)
    assert (flagged["note"], compiled["note"], other["note"]) == ("flagged: FID, IS", "", "flagged: timing")
    assert "compiled" not in flagged["settings"]
    assert "timed compiled, CUDA graphs" in compiled["settings"] and "timed compiled" in other["settings"]
    told = data(tmp_path / "site", f"trial-{made[2]['key'][:12]}")["flags"]
    assert told == ["timing: compiled, 87.5% of a batch's images are those without a compiler"]


@pytest.mark.usefixtures("undrawn")
def test_missing_thumbnails_are_named_on_the_trial(tmp_path: Path) -> None:
    made = fakes_store.records()[:4]
    fakes_store.write(tmp_path / "store", made)
    Store(tmp_path / "store").path(made[1]["name"], made[1]["key"]).with_suffix(".npz").unlink()
    build(tmp_path / "store", tmp_path / "site")
    reason = data(tmp_path / "site", f"trial-{made[1]['key'][:12]}")["images"]["reason"]
    assert "the store has no thumbnails" in reason


def test_a_folder_without_records_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArbenchError, match="is no store"):
        build(tmp_path / "nowhere", tmp_path / "site")
    Store(tmp_path / "empty").prepare()
    with pytest.raises(ArbenchError, match="holds no records"):
        build(tmp_path / "empty", tmp_path / "site")


@pytest.mark.usefixtures("undrawn")
def test_an_out_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("mine")
    with pytest.raises(ArbenchError, match="cannot write the report to"):
        build(fakes_store.write(tmp_path / "store", fakes_store.records()[:3]), tmp_path / "site")
    assert (tmp_path / "site").read_text() == "mine"


@pytest.mark.usefixtures("undrawn")
def test_the_command_prints_where_the_page_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    commands.add(parser.add_subparsers())
    store = fakes_store.write(tmp_path / "store", fakes_store.records()[:3])
    asked = parser.parse_args(["report", "--store", str(store), "--out", str(tmp_path / "site")])
    assert asked.run(asked) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "site" / "index.html")
