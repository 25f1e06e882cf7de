"""What a reader does with the pages, in a real browser."""

from pathlib import Path
from typing import Any

import axe_core_python
import pytest

from tests.browser.conftest import Open, Visit
from tests.helpers import fakes_store

pytestmark = pytest.mark.slow

RECORDS = [record for record in fakes_store.records() if record["status"] == "done"]
EAR = next(record for record in RECORDS if record["trial"]["method"] == "ear")["key"][:12]
KEYS = {record["key"][:12] for record in RECORDS}
PAGES = [
    "index.html", "frontier.html", "methods.html", "method-actvar.html", f"trial.html#{EAR}",
    f"compare.html#{EAR},{sorted(KEYS)[0]}", "claims.html", "measured.html",
]  # fmt: skip


def column(seen: Visit, title: str) -> list[float]:
    """The numbers of a column of the leaderboard, limits left out."""
    head = [text.split("\n")[0].strip(" ↓↑▲▼") for text in seen.texts("#board thead th")]
    cells = seen.texts(f"#board tbody tr:not(.level):not(.opened) > :nth-child({1 + head.index(title)})")
    return [float(cell.split("\n")[0].split(" ±")[0].replace(",", "").lstrip("≈")) for cell in cells if cell != "–"]


def chosen(seen: Visit, **fields: str) -> None:
    """Set fields of a form, as a reader does."""
    for name, value in fields.items():
        field = seen.page.locator(f"[name={name}]")
        if field.evaluate("one => one.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def axe(seen: Visit) -> list[str]:
    """Serious and critical findings of axe, each with the first place."""
    script = Path(axe_core_python.__file__ or "").parent / "axe.min.js"
    seen.page.evaluate(script.read_text())
    found = seen.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert found["passes"], "axe has run"
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:120]} ({len(one['nodes'])})"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def test_a_click_on_a_heading_sorts_and_another_turns_it_round(visit: Open) -> None:
    seen = visit("index.html")
    fids = column(seen, "FID (fmnist-cnn)")
    assert fids == sorted(fids)
    assert len(fids) == 8
    seen.page.click("#board th button:has-text('Latency')")
    up = column(seen, "Latency b1 (ms)")
    assert up == sorted(up)
    seen.page.click("#board th button:has-text('Latency')")
    assert column(seen, "Latency b1 (ms)") == up[::-1]
    assert seen.page.locator("#board th[aria-sort=descending]").inner_text().startswith("Latency")


def test_filters_leave_what_they_say(visit: Open) -> None:
    seen = visit("index.html")
    chosen(seen, rows="all", family="next-set", steps="7-13")
    lengths = column(seen, "Steps")
    assert lengths
    assert all(7 <= length <= 13 for length in lengths)
    assert set(seen.texts("#board tbody th .name")) == {"ear", "raster-blocks", "random-order"}
    chosen(seen, family="", steps="", sparsity="0.5-0.75", find="actvar")
    assert set(seen.texts("#board tbody th .name")) == {"actvar", "actvar-random"}
    assert all("0.5" in text or "0.75" in text for text in seen.texts("#board tbody tr:not(.level) .settings"))
    chosen(seen, sparsity="", find="", on="gflops")
    assert all("FLOPs" in text for text in seen.texts("#board tbody tr:not(.level) .badges"))
    chosen(seen, on="", device=seen.page.locator("[name=device] option").nth(1).get_attribute("value"))
    assert len(column(seen, "Steps")) == len(RECORDS)


def test_published_rows_are_shown_apart_with_their_source(visit: Open) -> None:
    seen = visit("index.html")
    chosen(seen, source="published")
    assert seen.page.locator("#board tbody tr.published").count() > 20
    assert seen.page.locator("#board tbody tr:not(.published)").count() == 0
    assert "FID (Inception)" in " ".join(seen.texts("#board thead th"))
    seen.page.click("#board tbody button >> nth=0")
    assert "the authors" in seen.page.locator("tr.opened").inner_text()


def test_columns_are_the_readers_choice_and_the_address_is_the_view(visit: Open) -> None:
    seen = visit("index.html")
    seen.page.click(".picker summary")
    seen.page.uncheck(".picker input[value=params]")
    seen.page.check(".picker input[value=kid]")
    chosen(seen, rows="all", find="raster")
    seen.page.click("#board th button:has-text('KID')")
    view = seen.texts("#board tr")
    assert "KID" in view[0]
    assert "Params" not in view[0]
    again = visit("index.html", seen.page.url.partition("#")[2])
    assert again.texts("#board tr") == view


def test_settings_of_a_row_are_one_click_away(visit: Open) -> None:
    seen = visit("index.html", "rows=all&find=actvar ffn_sparsity 0.5")
    seen.page.click("#board tbody button[aria-controls] >> nth=0")
    seen.page.wait_for_selector("tr.opened dd")
    said = seen.page.locator("tr.opened").inner_text()
    for name in ("ffn_sparsity", "sparse_scales", "cfg_schedule", "temperature", "top_p", "seed", "images"):
        assert name in said


@pytest.mark.parametrize(
    ("kind", "has"),
    [
        ("Markdown", ["| Method | Settings |", "| ---: |"]),
        ("CSV", ["Method,Settings,", "\r\n"]),
        ("LaTeX", ["\\begin{tabular}", "\\toprule", "raster-blocks &", "ffn\\_sparsity"]),
        ("BibTeX", ["@misc{arbench,", "eprint = {2404.02905}", "eprint = {2511.12893}"]),
    ],
)
def test_the_view_is_copied(visit: Open, kind: str, has: list[str]) -> None:
    seen = visit("index.html")
    seen.page.click(f"#tools button:has-text('Copy {kind}')")
    text = seen.page.evaluate("document.querySelector('#export textarea').value")  # browsers turn \r\n into \n
    for part in has:
        assert part.replace("\r\n", "\n") in text
    if kind == "Markdown":
        assert len(text.strip().split("\n")) == 2 + 8
        assert len({line.count("|") for line in text.strip().split("\n")}) == 1


def test_hovering_a_point_shows_its_images_and_a_click_opens_its_trial(visit: Open) -> None:
    seen = visit("frontier.html")
    point = seen.page.locator("#chart .trace .points path.point").nth(3)
    box = point.bounding_box()
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seen.page.wait_for_selector("#point img.pixels")
    shown = seen.page.locator("#point img.pixels")
    assert shown.evaluate("one => one.decode().then(() => one.naturalWidth)") == 280
    key = Path(shown.get_attribute("src")).stem
    assert key in KEYS
    seen.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seen.page.wait_for_url(f"**/trial.html#{key}")
    seen.page.wait_for_selector("#command")
    assert key in seen.page.locator("#command").inner_text()


def test_any_measure_can_be_drawn_against_any_other(visit: Open) -> None:
    seen = visit("frontier.html")
    chosen(seen, y="kid", x="gflops")
    seen.until("document.querySelector('#chart').layout.yaxis.title.text.startsWith('KID')")
    kind = "document.querySelector('#chart').layout.xaxis.type"
    assert seen.page.evaluate(kind) == "log"
    seen.page.uncheck("[name=logx]")
    seen.until(f"{kind} === 'linear'")
    drawn = seen.page.evaluate(
        "document.querySelector('#chart').data.map(one => [one.name, one.y, one.error_y?.array])"
    )
    named = {name: (ys, bars) for name, ys, bars in drawn}
    assert named["frontier"][0] == sorted(named["frontier"][0], reverse=True)
    assert all(bar > 0 for bar in named["ear"][1]), "KID has intervals"
    assert "x=gflops" in seen.page.url


def test_points_can_be_brushed_and_compared(visit: Open) -> None:
    seen = visit("frontier.html")
    box = seen.page.locator("#chart .nsewdrag").bounding_box()
    seen.page.mouse.move(box["x"] + 2, box["y"] + 2)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=5)
    seen.page.mouse.up()
    seen.page.wait_for_selector("#brushed table")
    assert seen.page.locator("#brushed tbody tr").count() > 10
    seen.page.click("#brushed a:has-text('Compare')")
    seen.page.wait_for_selector("#comparison .card >> nth=3")


@pytest.mark.parametrize("walk", ["walk-steps", "walk-sparsity"])
def test_a_slider_walks_along_an_axis_with_images_beside_the_curve(visit: Open, walk: str) -> None:
    seen = visit("frontier.html")
    slider = seen.page.locator(f"#{walk} input[type=range]")
    before = seen.page.locator(f"#{walk} img.pixels").nth(0).get_attribute("src")
    said = seen.page.locator(f"#{walk} output").inner_text()
    slider.focus()
    seen.page.keyboard.press("ArrowRight")
    assert float(seen.page.locator(f"#{walk} output").inner_text()) > float(said)
    after = seen.page.locator(f"#{walk} img.pixels").nth(0)
    assert after.get_attribute("src") != before
    assert after.evaluate("one => one.decode().then(() => one.naturalWidth)") == 280


def test_the_decode_order_is_animated(visit: Open) -> None:
    seen = visit("method-ear.html")
    seen.page.locator("#animation input[type=range]").fill("0")
    first = seen.page.locator("#step-said").inner_text()
    assert first.startswith("Step 1 of ")
    seen.page.click("#animation button:has-text('Play')")
    seen.until("document.querySelector('#step-said').textContent.includes(', 49 of 49 so far')")
    count = int(first.split(" of ")[1].split(":")[0])
    assert seen.page.locator("#step-said").inner_text().startswith(f"Step {count} of {count}")
    assert seen.page.locator("#animation button").inner_text() == "Play"


def test_sparsity_maps_show_tokens_and_experts_layer_by_layer(visit: Open) -> None:
    seen = visit("method-actvar.html")
    assert seen.page.locator("#animation canvas").count() == 6
    assert seen.page.locator("#maps canvas").count() >= 2
    said = seen.page.locator("#maps").inner_text()
    assert "Tokens computed" in said
    assert "Experts computed" in said
    seen.page.select_option("#maps select[data-pick=Layer]", "1")
    seen.page.select_option("#maps select[data-pick=Expert]", "2")
    assert "% of tokens use it" in seen.page.locator("#maps").inner_text()


def test_trials_stand_side_by_side_with_paired_differences(visit: Open) -> None:
    paired = visit("compare.html").page.evaluate("arbench.data.compare.paired")
    seen = visit("compare.html", f"{paired[0]},{paired[3]}")
    seen.page.wait_for_selector("h2:has-text('B − A')")
    rows = seen.texts("#comparison table:has(caption:text('Differences')) tbody tr")
    fid = next(row for row in rows if row.startswith("fid."))
    assert "paired" in fid
    assert " to " in fid
    turned = visit("compare.html", f"{paired[3]},{paired[0]}")
    turned.page.wait_for_selector("h2:has-text('B − A')")
    back = turned.texts("#comparison table:has(caption:text('Differences')) tbody tr")
    other = next(row for row in back if row.startswith("fid."))
    assert fid.split("\t")[1][1:] == other.split("\t")[1][1:]
    assert fid.split("\t")[1][0] != other.split("\t")[1][0], "turned round, the sign turns"
    assert turned.page.locator(".card img.pixels").count() == 2


def test_a_trial_page_has_every_figure_and_how_to_get_it_again(visit: Open) -> None:
    seen = visit("trial.html", EAR)
    said = seen.page.locator("#trial").inner_text()
    for heading in ("Images", "Figures", "FLOPs", "Timing samples", "Reproduce", "Provenance", "Log"):
        assert heading in said
    for part in ("attention", "Latency b1 (ms)", "e928e1c0ffee", "arbench verify", "torch 2.14.1"):
        assert part in said
    assert "[object" not in said
    assert seen.page.locator("svg.dots circle").count() == 12
    missing = visit("trial.html")
    assert missing.page.locator("#choose li a").count() == 8


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Open, page: str, scheme: str) -> None:
    name, _, address = page.partition("#")
    seen = visit(name, address, scheme=scheme)
    seen.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert axe(seen) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_phone_of_400_pixels_never_scrolls_sideways(visit: Open, page: str) -> None:
    name, _, address = page.partition("#")
    seen = visit(name, address, width=400)
    assert seen.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    wide = """[...document.querySelectorAll('main *')].filter(one => !one.closest('.scroll, pre, .chart')
        && one.getBoundingClientRect().right > window.innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"""
    assert seen.page.evaluate(wide) == []


def test_the_theme_is_switched_and_kept(visit: Open) -> None:
    seen = visit("index.html", scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = seen.page.evaluate(ground)
    for _ in range(2):
        seen.page.click("#theme")
    assert seen.page.locator("#theme").inner_text() == "Theme: dark"
    dark = seen.page.evaluate(ground)
    assert dark != light
    seen.page.click("nav a:has-text('Measured')")
    seen.page.wait_for_url("**/measured.html")
    assert seen.page.evaluate(ground) == dark, "the next page is dark as well"
    assert visit("index.html", scheme="dark").page.evaluate(ground) == dark


def test_the_keyboard_alone_is_enough(visit: Open) -> None:
    seen = visit("index.html")
    focused = "document.activeElement.textContent.trim()"

    def tab_to(text: str) -> None:
        for _ in range(80):
            seen.page.keyboard.press("Tab")
            if seen.page.evaluate(focused).startswith(text):
                return
        raise AssertionError(f"Tab never reaches {text}")

    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate(focused) == "Skip to the content"
    tab_to("IS")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_selector("#board th[aria-sort=descending]")
    assert seen.page.evaluate(focused).startswith("IS"), "the focus stays where it was"
    tab_to("Settings")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_selector("tr.opened dd")
    assert seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    frontier = visit("frontier.html")
    frontier.page.locator("#on a").first.focus()
    frontier.page.wait_for_selector("#point img.pixels")


def test_paper_has_the_table_and_no_buttons(visit: Open) -> None:
    seen = visit("index.html", scheme="dark")
    seen.page.emulate_media(media="print")
    assert not any(one.is_visible() for one in seen.page.locator("button:not(.sort)").all())
    assert seen.page.locator("#board").is_visible()
    assert seen.page.locator("#board th >> nth=2").inner_text().startswith("Steps")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_every_image_of_the_static_pages_is_shown(visit: Open) -> None:
    for name in ("methods.html", "frontier.html"):
        seen = visit(name)
        seen.page.evaluate("document.querySelectorAll('img').forEach(one => { one.loading = 'eager' })")
        seen.until("[...document.images].every(one => one.complete)")
        broken: Any = seen.page.evaluate("[...document.images].filter(one => !one.naturalWidth).map(one => one.src)")
        assert broken == []
