"""The report in a real browser: Debian's Chromium, driven by Playwright. Skipped where either is missing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.build import build
from tests import fakes_store

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install it)")]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    return build(fakes_store.write(folder / "store"), folder / "site")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


class Visit:
    """A page opened from disk, and all that it asked for and complained of."""

    def __init__(self, browser: Any, index: Path, width: int, scheme: str = "light") -> None:
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(index.as_uri())
        # Everything is opened and loaded, also what lies below the fold.
        self.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        self.page.evaluate("document.querySelectorAll('img').forEach(one => { one.loading = 'eager' })")
        self.page.wait_for_load_state("networkidle")


@pytest.fixture(scope="module", params=[1400, 400])
def visit(request: pytest.FixtureRequest, browser: Any, index: Path) -> Iterator[Visit]:
    opened = Visit(browser, index, request.param)
    yield opened
    opened.page.close()


def test_no_request_leaves_the_page(visit: Visit, index: Path) -> None:
    inside = index.parent.as_uri() + "/"
    assert len(visit.asked) > 80
    assert [url for url in visit.asked if not url.startswith((inside, "data:,"))] == []
    assert visit.complaints == []


def test_every_image_is_shown(visit: Visit) -> None:
    broken = "[...document.images].filter(one => !one.complete || one.naturalWidth === 0).map(one => one.src)"
    assert visit.page.evaluate(broken) == []


def test_the_page_never_scrolls_sideways(visit: Visit) -> None:
    assert visit.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    # What is wider than the page must be inside a container that scrolls on its own.
    wide = """[...document.querySelectorAll('main *')].filter(one => !one.closest('.scroll, pre')
        && one.getBoundingClientRect().right > window.innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"""
    assert visit.page.evaluate(wide) == []


def test_the_first_column_stays_while_a_table_scrolls(visit: Visit) -> None:
    left = "document.querySelector('#trials tbody th').getBoundingClientRect().left"
    before = visit.page.evaluate(left)
    moved = visit.page.evaluate(
        "(box => { box.scrollLeft = 300; return box.scrollLeft })(document.querySelector('#trials .scroll'))"
    )
    assert moved > 0
    assert abs(visit.page.evaluate(left) - before) <= 1


def test_the_screenshot_is_neither_empty_nor_cut(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    visit.page.screenshot(path=path, full_page=True)
    from PIL import Image

    with Image.open(path) as shot:
        assert shot.width == visit.page.viewport_size["width"]
        assert shot.height > 5000
        assert len(shot.convert("RGB").resize((200, 2000)).getcolors(400_000) or []) > 500


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_colour_schemes(browser: Any, index: Path, scheme: str) -> None:
    opened = Visit(browser, index, 1400, scheme)
    ratio = """(() => {
        const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
        const behind = one => { for (; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor
            if (!colour.endsWith(', 0)')) return colour } return 'rgb(255, 255, 255)' }
        return Math.min(...[...document.querySelectorAll('p, td, th, a, dd, dt, li, h1, h2, h3, span, summary, pre')]
            .filter(one => one.textContent.trim()).map(one => {
                const pair = [light(getComputedStyle(one).color), light(behind(one))].sort((a, b) => b - a)
                return (pair[0] + 0.05) / (pair[1] + 0.05) }))
    })()"""
    assert opened.page.evaluate(ratio) >= 4.5  # WCAG AA
    opened.page.close()


def test_a_row_of_the_leaderboard_leads_to_its_trial(browser: Any, index: Path) -> None:
    opened = Visit(browser, index, 1400)
    opened.page.click("#leaderboard td.settings a >> nth=0")
    target = opened.page.evaluate("document.querySelector(':target').id")
    assert opened.page.url.endswith(f"#{target}")
    assert target.startswith("trial-")
    opened.page.close()
