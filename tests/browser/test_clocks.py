"""The two clocks of a GPU, in a real browser."""

from pathlib import Path

import pytest

from reports.build import build
from tests.browser.conftest import Open
from tests.browser.test_pages import column
from tests.helpers import fakes_store
from tests.helpers.fakes_cuda import CONTENT, SLOWER, on_cuda

pytestmark = pytest.mark.slow
RECORDS = fakes_store.records()
MADE = [on_cuda(RECORDS[3]), on_cuda(RECORDS[4], "compile"), on_cuda(RECORDS[5], "off", CONTENT)]
CAPTURED, COMPILED, EAGER = (record["key"][:12] for record in MADE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of three trials on CUDA, each timed in another way."""
    place = tmp_path_factory.mktemp("clocks")
    MADE[0]["timing"]["eager"]["latency"] |= {"noisy": True, "why": "as said"}
    return build(fakes_store.write(place / "store", MADE), place / "site").parent


def test_the_eager_clock_is_a_column_that_a_reader_switches_on(visit: Open, folder: Path) -> None:
    seen = visit("index.html", "rows=all", folder=folder)
    assert "Eager latency b1 (ms)" not in " ".join(seen.texts("#board thead th"))
    captured = column(seen, "Latency b1 (ms)")
    seen.page.click(".picker summary")
    seen.page.check(".picker input[value=eager_latency]")
    seen.until("document.querySelectorAll('#board thead th').length > 9")
    eager = column(seen, "Eager latency b1 (ms)")
    assert len(eager) == len(captured) == 3
    assert sorted(round(other / one, 1) for one, other in zip(captured, eager, strict=True)) == [1.0, SLOWER, SLOWER]
    assert seen.page.locator('#board td abbr[title*="the trial\'s page"]').count() == 1
    said = " ".join(seen.texts("#board .settings"))
    for words in ("timed captured", "timed compiled", "timed eager", CONTENT):
        assert words in said


def test_a_trial_shows_the_samples_of_both_clocks(visit: Open, folder: Path) -> None:
    text = visit("trial.html", CAPTURED, folder=folder).page.inner_text("#trial")
    for words in ("One image (batch 1), eager", "A batch of 64, eager", ", p90 ", "captured", "as said"):
        assert words in text
    only = visit("trial.html", EAGER, folder=folder).page.inner_text("#trial")
    assert f"eager ({CONTENT})" in only
    assert "(batch 1), eager" not in only and "no eager times" not in only


def test_a_trial_says_why_it_has_no_eager_times(visit: Open, tmp_path: Path) -> None:
    made = on_cuda(RECORDS[3])
    made["timing"] |= {"eager": None, "eager_why": "OutOfMemoryError: so much was asked for"}
    out = build(fakes_store.write(tmp_path / "store", [made]), tmp_path / "site").parent
    text = visit("trial.html", made["key"][:12], folder=out).page.inner_text("#trial")
    assert "so much was asked for" in text and "(batch 1), eager" not in text


def test_the_page_of_comparisons_says_where_clocks_differ(visit: Open, folder: Path) -> None:
    seen = visit("compare.html", f"{CAPTURED},{EAGER}", folder=folder)
    said = seen.page.inner_text("#clocks")
    assert said.endswith(f"A captured, B eager ({CONTENT}).")
    text = seen.page.inner_text("#comparison")
    assert "eager latency (time, relative)" in text and "eager batch of 64 (time, relative)" in text
    assert visit("compare.html", f"{CAPTURED},{CAPTURED}", folder=folder).page.locator("#clocks").count() == 0


def test_the_page_of_comparisons_says_where_setups_differ(
    visit: Open, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert visit("compare.html", f"{CAPTURED},{EAGER}", folder=folder).page.locator("#setups").count() == 0
    place, other = tmp_path_factory.mktemp("setups"), on_cuda(RECORDS[4])
    other["trial"]["setup"] |= {"precision": "fp32", "tf32": "on", "compute_batch": 16}
    out = build(fakes_store.write(place / "store", [MADE[0], other]), place / "site").parent
    said = visit("compare.html", f"{CAPTURED},{other['key'][:12]}", folder=out).page.inner_text("#setups")
    assert said.endswith("precision A bf16, B fp32; tf32 A off, B on; compute_batch A 64, B 16.")


def test_an_axis_or_a_column_that_the_store_has_not_is_never_shown(visit: Open) -> None:
    seen = visit("frontier.html", "x=eager_latency")
    assert seen.page.locator("[name=x]").input_value() == "latency"
    assert seen.page.locator("[name=x] option[value=eager_latency]").count() == 0
    assert "settings" in seen.page.inner_text("#said")
    board = visit("index.html", "sort=eager_latency&cols=fid eager_latency joules")
    assert [text.split("\n")[0].strip(" ↓↑▲▼") for text in board.texts("#board thead th")][2:] == ["FID (fmnist-cnn)"]


def test_the_eager_clock_is_an_axis_of_the_explorer(visit: Open, folder: Path) -> None:
    seen = visit("frontier.html", "x=eager_latency&rows=all", folder=folder)
    assert seen.page.inner_text("#said").startswith("3 settings")
