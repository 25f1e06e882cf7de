"""``arbench score`` and ``arbench reference build``, with a light network in Inception's place."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.cli.command import main
from harness.extractors.base import INCEPTION
from harness.records.store import Store
from harness.stages.quality import reference_files
from reports.build import build
from tests.helpers import fakes_store
from tests.helpers.light import FEATURES, SPATIAL, Counting, in_place
from tests.unit.reports.test_reports import board, undrawn

__all__ = ["undrawn"]
COUNT = 12


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    """The network that the commands load."""
    return in_place(monkeypatch, tmp_path)


def pictures(seed: int, side: int = 16, count: int = COUNT) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.fixture
def files(tmp_path: Path, network: Counting) -> Path:
    """Samples, and references; one with statistics as guided-diffusion's evaluator has them, of other images."""
    np.savez(tmp_path / "samples.npz", arr_0=pictures(1))
    np.savez(tmp_path / "images.npz", arr_0=pictures(2))
    rng = np.random.default_rng(3)
    statistics = {
        "mu": 100 + rng.normal(size=FEATURES),
        "sigma": np.eye(FEATURES),
        "mu_s": rng.normal(size=SPATIAL),
        "sigma_s": np.eye(SPATIAL),
    }
    np.savez(tmp_path / "adm.npz", arr_0=pictures(2), **statistics)  # type: ignore[arg-type]
    np.savez(tmp_path / "alone.npz", **statistics)  # type: ignore[arg-type]
    return tmp_path


def scored(
    folder: Path, capsys: pytest.CaptureFixture[str], samples: str, reference: str, *more: str
) -> dict[str, Any]:
    capsys.readouterr()
    asked = ["score", str(folder / samples), "--reference", str(folder / reference), *more]
    assert main([*asked, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def built(folder: Path, *images: str, more: tuple[str, ...] = ()) -> int:
    sources = [str(folder / name) for name in images]
    return main(["reference", "build", *sources, "--out", str(folder / "built.npz"), *more])


FIGURES = ("fid", "sfid", "kid", "precision", "recall", "density", "coverage")


@pytest.mark.parametrize("name", ["adm.npz", "alone.npz", "images.npz"])
def test_a_built_reference_gives_the_figures_of_what_it_was_built_from(
    name: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert built(files, name) == 0
    said = capsys.readouterr().out
    assert ("mu, sigma, mu_s, sigma_s are those stored in" in said) == (name != "images.npz")
    direct = scored(files, capsys, "samples.npz", name)
    after = scored(files, capsys, "samples.npz", "built.npz")
    for figure in FIGURES:
        assert after.get(figure) == (pytest.approx(direct[figure], rel=1e-9) if figure in direct else None), figure
    assert ("kid" in direct) == (name != "alone.npz")
    plain = scored(files, capsys, "samples.npz", "images.npz")
    if name != "images.npz":
        assert abs(after["fid"]["inception"] - plain["fid"]["inception"]) > 100, "the stored statistics count"


def test_stored_statistics_cannot_be_cropped_cut_or_put_together(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert built(files, "adm.npz", more=("--resize", "8")) == 2
    assert built(files, "adm.npz", more=("--images", "8")) == 2
    assert built(files, "images.npz", "adm.npz") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all("holds statistics (mu, sigma)" in line for line in lines)
    assert not (files / "built.npz").exists()


@pytest.mark.parametrize("name", ["adm.npz", "images.npz", "folder"])
def test_the_images_of_a_reference_are_looked_at_once(
    name: str, files: Path, network: Counting, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "folder").mkdir()
    for number, image in enumerate(pictures(2)):
        Image.fromarray(image).save(files / "folder" / f"{number:02d}.png")
    first = scored(files, capsys, "samples.npz", name)
    assert network.shown == 2 * COUNT
    second = scored(files, capsys, "samples.npz", name)
    assert network.shown == 3 * COUNT
    for figure in FIGURES:
        assert second[figure] == pytest.approx(first[figure], rel=1e-9), figure
    assert (second["samples"], second["reference"]["path"]) == (first["samples"], first["reference"]["path"])
    if name == "folder":
        Image.fromarray(pictures(9)[0]).save(files / "folder" / "00.png")
        scored(files, capsys, "samples.npz", name)
        assert network.shown == 5 * COUNT, "other content is looked at anew"


def test_what_was_kept_can_lie_elsewhere_be_damaged_or_not_be_kept(
    files: Path, network: Counting, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*more: str) -> int:
        before = network.shown
        scored(files, capsys, "samples.npz", "images.npz", *more)
        return network.shown - before

    assert shown("--cache", "none") == 2 * COUNT and not (files / "cache").exists()
    own = str(files / "own")
    assert (shown("--cache", own), shown("--cache", own)) == (2 * COUNT, COUNT)
    (kept,) = (files / "own").iterdir()
    kept.write_bytes(kept.read_bytes()[:-100])
    assert (shown("--cache", own), shown("--cache", own)) == (2 * COUNT, COUNT)
    assert shown("--cache", str(files / "samples.npz")) == 2 * COUNT  # no folder: told, and no error
    main(
        [
            "score",
            str(files / "samples.npz"),
            "--reference",
            str(files / "images.npz"),
            "--cache",
            str(files / "images.npz"),
        ]
    )
    assert "not kept for the next time (cannot write" in capsys.readouterr().err


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert reference_files.default_cache() is None


def test_imagenet_as_it_is_becomes_a_reference_at_256(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "val").mkdir()
    for number in range(COUNT):
        Image.fromarray(pictures(5, 40)[number][:, : 17 + number]).save(files / "val" / f"{number:02d}.png")
    assert built(files, "val") == 2
    assert "not one size" in capsys.readouterr().err
    assert built(files, "val", more=("--resize", "16")) == 0
    after = scored(files, capsys, "samples.npz", "built.npz")
    assert after["reference"]["resize"] == 16
    direct = scored(files, capsys, "samples.npz", "val", "--resize", "16")
    assert direct["fid"]["inception"] == pytest.approx(after["fid"]["inception"], rel=1e-9)


def test_samples_are_cropped_beside_a_reference_that_cannot_be(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(files / "large.npz", arr_0=pictures(1, 24))
    for name in ("adm.npz", "alone.npz"):
        found = scored(files, capsys, "large.npz", name, "--resize", "16")
        assert found["samples"]["resize"] == 16 and "resize" not in found["reference"]


def test_shards_patterns_and_parts_are_counted_together(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        np.savez(files / f"part-{number}.npz", images=pictures(1)[4 * number : 4 * number + 4])
    whole = scored(files, capsys, "samples.npz", "images.npz")
    parts = scored(files, capsys, "part-*.npz", "images.npz", "--key", "images")
    for figure in FIGURES:
        assert parts[figure] == pytest.approx(whole[figure], rel=1e-4), figure  # of other batches
    assert parts["samples"]["sha256"] == whole["samples"]["sha256"] and parts["samples"]["path"].endswith("and 2 more")
    cut = scored(files, capsys, "part-*.npz", "images.npz", "--key", "images", "--images", "9")
    assert cut["samples"]["images"] == 9
    given = [str(files / "part-*.npz"), "--reference", str(files / "images.npz"), "--key", "images"]
    assert main(["score", *given, "--images", "13"]) == 2
    assert main(["score", str(files / "nothing-*.npz"), "--reference", str(files / "images.npz")]) == 2
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert "holds 12 images, 13 were asked for" in first and "no file fits this pattern" in second


def test_exact_duplicates_are_noted(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = pictures(1)
    images[[3, 7, 11]] = images[0]
    np.savez(files / "copies.npz", arr_0=images)
    found = scored(files, capsys, "copies.npz", "images.npz")
    assert "samples: 3 of 12 images are exact copies of others" in found["flags"]
    found = scored(files, capsys, "samples.npz", "copies.npz")
    assert "reference: 3 of 12 images are exact copies of others" in found["flags"]
    assert not any("copies" in flag for flag in scored(files, capsys, "samples.npz", "images.npz")["flags"])


def mixed(folder: Path) -> Path:
    """A folder of images, one of them partly transparent, with a hidden file and one that is no picture beside them."""
    folder.mkdir()
    for place, image in enumerate(pictures(1)):
        Image.fromarray(image).save(folder / f"{place}.png")
    Image.fromarray(np.dstack([pictures(1)[0], np.full((16, 16), 7, np.uint8)])).save(folder / "0.png")
    (folder / "._1.png").write_bytes(b"what macOS leaves")
    (folder / "readme.txt").write_text("about them")
    return folder


def test_what_was_left_out_and_what_was_done_to_images_is_said_wherever_they_are_read(
    files: Path, network: Counting, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed(files / "mixed")
    flags = scored(files, capsys, "mixed", "images.npz")["flags"]
    said = [flag for flag in flags if flag.startswith("samples: ")]
    assert any("hidden" in flag for flag in said), flags
    assert any("transparent" in flag for flag in said), flags
    assert scored(files, capsys, "samples.npz", "mixed")["flags"].count("reference: " + said[0][9:]) == 1
    assert main(["reference", "build", str(files / "mixed"), "--out", str(files / "kept.npz")]) == 0
    printed = capsys.readouterr().out
    assert all(f"note: {flag[9:]}" in printed for flag in said)
    found = reference_files.reference_of(files / "kept.npz", network, files)
    assert found.facts["notes"] == [flag[9:] for flag in said]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid x\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html>", "an HTML page"),
    ],
)
def test_a_reference_that_was_not_fetched_is_told(
    files: Path, capsys: pytest.CaptureFixture[str], content: bytes, what: str
) -> None:
    (files / "VIRTUAL_imagenet256_labeled.npz").write_bytes(content)
    asked = ["score", str(files / "samples.npz"), "--reference", str(files / "VIRTUAL_imagenet256_labeled.npz")]
    assert main(asked) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "VIRTUAL_imagenet256_labeled.npz" in line and what in line


def added(folder: Path, name: str, *more: str, store: str = "store") -> int:
    asked = ["score", str(folder / "samples.npz"), "--reference", str(folder / "images.npz")]
    return main([*asked, "--store", str(folder / store), "--name", name, *more])


def test_foreign_samples_are_a_row_of_the_leaderboard_marked_and_without_a_cost(
    files: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    assert added(files, "DiT-XL_2.cfg1.5") == 0
    (record,) = Store(files / "store").records()
    assert record["foreign"]["images"] == COUNT and record["flops"] is record["timing"] is None
    alone = board(build(files / "store", files / "alone").parent)
    store = files / "fakes"
    for made in fakes_store.records()[:3]:
        Store(store).write(made)
    assert added(files, "DiT-XL_2.cfg1.5", store="fakes") == 0
    beside = board(build(store, files / "beside").parent)
    for rows in (alone, beside):
        (row,) = [row for row in rows if row["method"] == "DiT-XL_2.cfg1.5"]
        assert row["source"] == row["settings"].removeprefix("foreign samples, ") == "foreign samples"
        assert row["fid"] == pytest.approx(record["quality"]["fid"]["inception"], rel=1e-4)
        assert rows is alone or row["set"] == 1
        assert row.get("gflops") is row.get("latency") is row.get("steps") is None
        assert "on" not in row["standing"] and "un" not in row["standing"]
    for page in ("index.html", "trial.html", "methods.html", "frontier.html", "compare.html", "claims.html"):
        assert (files / "beside" / page).exists()


def test_a_foreign_row_stands_in_the_set_of_its_reference_and_on_no_frontier(files: Path, undrawn: None) -> None:
    assert added(files, "theirs") == 0
    store = Store(files / "store")
    (foreign,) = store.records()
    for number, made in enumerate(fakes_store.records()[:3]):
        quality = {**made["quality"], "extractor": INCEPTION, "fid": {INCEPTION: 1e5 + number}, "intervals": {}}
        trial = {**made["trial"], "images": COUNT}
        about = {**made["provenance"], "reference": foreign["provenance"]["reference"]}
        store.write({**made, "quality": quality, "trial": trial, "provenance": about, "data": "imagenet256"})
    assert added(files, "theirs", "--replace") == 0
    rows = board(build(store.folder, files / "site").parent)
    assert {row["set"] for row in rows if row["source"] != "published"} == {0}
    (row,) = [row for row in rows if row["method"] == "theirs"]
    assert row["best"]
    assert row["standing"] == "-" * 8
    assert any("on" in row["standing"] for row in rows if row["method"] == "raster")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../x", "x" * 61, "x y", "ear"])
def test_a_name_that_is_no_files_or_a_methods_is_refused(
    name: str, files: Path, network: Counting, capsys: pytest.CaptureFixture[str]
) -> None:
    assert added(files, name) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--name" in line
    assert network.shown == 0 and not (files / "store").exists()


def test_an_existing_row_is_replaced_only_if_that_is_said(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert added(files, "theirs") == 0
    assert added(files, "theirs", "--images", "10") == 2
    assert "has a row of foreign samples called 'theirs' (--replace replaces it)" in capsys.readouterr().err
    assert added(files, "theirs", "--images", "10", "--replace") == 0
    (record,) = Store(files / "store").all_records()
    assert record["trial"]["images"] == 10
    assert len(list((files / "store" / "records").iterdir())) == 2
    assert main(["score", str(files / "samples.npz"), "--reference", str(files / "images.npz"), "--name", "x"]) == 2
    assert "--store DIR says which" in capsys.readouterr().err


def test_foreign_rows_are_compared_and_exported_but_neither_submitted_nor_verified(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert added(files, "one") == added(files, "two", "--images", "11") == 0
    store = str(files / "store")
    assert main(["compare", "one", "two", "--store", store]) == 0
    assert "fid.inception" in capsys.readouterr().out
    assert main(["export", "--store", store, "--out", str(files / "all.csv")]) == 0
    assert main(["diff", store, store]) == 0
    assert main(["submit", "--store", store, "--out", str(files / "pack"), "--by", "me"]) == 2
    assert "has no finished record to submit" in capsys.readouterr().err
    record = next((files / "store" / "records").glob("*.json"))
    assert main(["verify", str(record)]) == 2
    assert "is of foreign samples" in capsys.readouterr().err
    assert main(["status", store]) in (0, 2)


@pytest.mark.parametrize("command", [["score", "--reference", "images.npz"], ["reference", "build", "--out", "o.npz"]])
def test_tf32_is_refused_where_there_is_none(
    files: Path, capsys: pytest.CaptureFixture[str], command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would give the same figures under another key."""
    monkeypatch.chdir(files)
    assert main([*command, "samples.npz", "--tf32", "on"]) == 2
    said = capsys.readouterr().err
    assert "--tf32 on: device 'cpu' has no TF32 (valid with --device cuda)" in said
    assert not (files / "o.npz").exists()
