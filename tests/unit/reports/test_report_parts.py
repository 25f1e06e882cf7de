"""What the report is made of: figures in words, settings, colours, strips, file names, the protocol, intervals."""

import copy
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import reports
from harness import registry
from harness.plugins.looks import looks
from reports import figures, images, names, papers, published, table
from reports.protocol import machine_words, protocol
from tests.helpers import fakes_store


@pytest.fixture
def rows() -> pd.DataFrame:
    return table.tidy(fakes_store.records(), "fmnist-cnn")


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (1234.5, "1,234"),
        (0.012345, "0.0123"),
        (12.0, "12"),
        (9.999, "10.00"),
        (0, "0"),
        (-3.14159, "-3.14"),
        (float("nan"), "–"),
        (None, "–"),
        ("<b>", "–"),
        (True, "–"),
    ],
)
def test_figures_are_printed_with_three_digits_and_no_exponent(value: object, printed: str) -> None:
    assert table.figure(value) == printed


def test_seeds_of_a_setting_are_averaged_before_the_best_guidance_is_chosen() -> None:
    one, other, lucky = (copy.deepcopy(fakes_store.records()[0]) for _ in range(3))
    for record, seed, cfg, fid in ((one, 0, 1.0, 10.0), (other, 0, 2.0, 9.0), (lucky, 1, 2.0, 14.0)):
        record["trial"]["seed"], record["trial"]["sampling"]["cfg"] = seed, cfg
        record["quality"]["fid"]["fmnist-cnn"] = fid
    best = table.at_best_guidance(table.over_seeds(table.tidy([one, other, lucky], "fmnist-cnn")))
    assert best["cfg"].tolist() == [1.0], "the lucky seed of cfg 2 must not win"
    assert table.over_seeds(table.tidy([other, lucky], "fmnist-cnn"))["fid"].tolist() == [11.5]


def test_sparse_methods_are_ranked_at_a_sparse_setting(rows: pd.DataFrame) -> None:
    board = table.leaderboard(table.over_seeds(table.comparable(rows)[0])).set_index("method")
    for method in ("actvar", "var-static", "actvar-random"):
        row = board.loc[method]
        assert row["knob:ffn_sparsity"] + row["knob:token_sparsity"] > 0
    assert len(board) == 8


def test_settings_name_every_knob_and_the_guidance(rows: pd.DataFrame) -> None:
    ear = rows[rows["method"] == "ear"].iloc[0]
    assert ear["settings"] == "steps 4, schedule equal, adaptive 0, cfg 1.5"
    assert table.sampling_words({"cfg": 1.0, "temperature": 0.9, "top_k": 0}) == "cfg 1, temperature 0.9"


def test_every_method_of_the_project_has_a_look_of_its_family_and_a_base_that_is_a_method() -> None:
    assert set(looks()) == set(registry.names())
    for name, look in looks().items():
        assert look.family == registry.get(name).family
        assert look.base in looks()
    tables = {row.method for row in published.published()}
    assert {look.published for look in looks().values() if look.published} <= tables


def test_no_module_of_reports_knows_a_method_by_name() -> None:
    known = {f'"{name}"' for name in registry.names()} | {f"'{name}'" for name in registry.names()}
    folder = Path(reports.__file__).parent
    paths = [path for ending in ("py", "js", "html") for path in folder.rglob(f"*.{ending}")]
    assert len(paths) > 30
    assert [f"{path.name}: {name}" for path in paths for name in known if name in path.read_text()] == []


def test_no_two_methods_look_alike() -> None:
    styles = figures.styles([*looks(), *(f"stranger-{i}" for i in range(20))])
    assert len({(look.colour, look.mark) for look in styles.values()}) == len(styles)
    assert len({look.mark for name, look in styles.items() if name in looks()}) == len(looks())


@pytest.mark.parametrize("deficiency", ["protan", "deutan", "tritan"])
def test_colours_of_the_project_stay_apart_for_colour_blind_readers(deficiency: str) -> None:
    colours = np.array(
        [[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in (look.colour for look in looks().values())]
    )
    matrix = {  # Machado, Oliveira, Fernandes 2009, severity 1, on linear RGB
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }[deficiency]
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(matrix).T, 0, 1)
    xyz = seen @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    scaled = np.cbrt(xyz / np.array([0.9505, 1.0, 1.089]))
    lab = np.stack(
        [116 * scaled[:, 1] - 16, 500 * (scaled[:, 0] - scaled[:, 1]), 200 * (scaled[:, 1] - scaled[:, 2])], axis=1
    )
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e9 * np.eye(len(lab))
    assert apart.min() > 10  # about 2 is just noticeable


def test_a_strip_shows_the_images_in_order_row_by_row() -> None:
    thumbnails = np.arange(15, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 6), np.uint8)
    drawn = images.strip(thumbnails)
    assert drawn.shape == (2 * 4, 10 * 6, 3)
    assert drawn[0, 0, 0] == 0
    assert drawn[0, 6, 0] == 1
    assert drawn[4, 0, 0] == 10
    assert drawn[4, 59, 0] == 128, "the last row is filled up with grey"


def test_strips_of_few_trials_keep_every_pixel_and_of_thousands_stay_small(tmp_path: Path) -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (40, 1, 28, 28), np.uint8)
    file, count = images.Strips(tmp_path, 20).write("few", thumbnails, "few")
    with Image.open(tmp_path / file) as saved:
        assert np.array_equal(np.asarray(saved.convert("RGB")), images.strip(thumbnails[:count]))
    many = images.Strips(tmp_path, 5000)
    sizes = [(tmp_path / many.write(str(i), thumbnails, "many")[0]).stat().st_size for i in range(3)]
    assert max(sizes) <= images.BUDGET / 5000, "even of noise, which is the worst there is to compress"


def test_file_names_are_safe_and_distinct() -> None:
    assert names.safe("actvar-random") == "actvar-random"
    hostile = [names.safe(name) for name in ("../../etc", "..\\..\\etc", "", "a" * 300, "naïve")]
    assert len(set(hostile)) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,49}", name) for name in hostile)


def test_the_protocol_gives_every_value_where_records_differ() -> None:
    made = fakes_store.records()[:3]
    made[0]["timing"]["threads"] = 8
    said = dict(protocol(made))
    assert "2 (2 records); 8 (1 record)" in said["Timing"]
    assert dict(protocol([{"trial": {}}]))["Versions"] == "not recorded"
    assert machine_words({}) == "an unnamed machine"


def test_figures_stand_with_their_interval_in_the_units_of_the_report() -> None:
    record = fakes_store.records()[0]
    record["quality"]["intervals"]["kid"] = [0.0011, 0.0013]
    row = table.dicts(table.tidy([record], "fmnist-cnn"))[0]
    assert (row["kid:low"], row["kid:high"]) == pytest.approx((1.1, 1.3))
    assert row["latency:low"] == pytest.approx(1000 * record["timing"]["latency"]["interval"][0])
    assert np.isnan(row["recall:low"])


def test_a_mean_over_seeds_is_surer_than_one_seed() -> None:
    made = [copy.deepcopy(fakes_store.records()[0]) for _ in range(4)]
    for seed, record in enumerate(made):
        record["trial"]["seed"] = seed
        record["quality"]["fid"]["fmnist-cnn"] = 10.0 + seed
        record["quality"]["intervals"]["fid"]["fmnist-cnn"] = [9.0 + seed, 12.0 + seed]
    row = table.over_seeds(table.tidy(made, "fmnist-cnn")).iloc[0]
    assert row["fid"] == 11.5
    assert (row["fid:low"], row["fid:high"]) == pytest.approx((11.0, 12.5))  # half as wide as one seed's


def test_papers_are_cited_and_nothing_is_made_up() -> None:
    known = papers.bibtex("Tian et al., arXiv 2404.02905 (VAR)")
    assert known.startswith("@misc{arxiv240402905,")
    assert "Next-Scale Prediction" in known
    unknown = papers.bibtex("arXiv 2601.00001")
    assert "eprint = {2601.00001}" in unknown
    assert "title" not in unknown
    assert papers.bibtex("control of arbench") == papers.link("javascript:alert(1)") == ""


def test_trials_against_another_reference_are_not_compared() -> None:
    for change in ("reference", "extractor", "data"):
        made = copy.deepcopy(fakes_store.records()[:4])
        odd = made[0]
        if change == "reference":
            odd["provenance"]["reference"] = "another"
        elif change == "extractor":
            odd["quality"]["extractor"] = "another"
        else:
            odd["data"] = "another"
        main, aside = table.comparable(table.tidy(made, "fmnist-cnn"))
        assert odd["key"] not in set(main["key"]) and len(main) == 3, change
        assert len(aside) == 1
