"""Debian's Chromium, driven by Playwright; the tests are skipped where either is missing (CI installs both)."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.build import build
from tests.helpers import fakes_store

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_MS = 60_000
READY = "document.documentElement.dataset.ready === 'yes'"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report of the made-up store."""
    folder = tmp_path_factory.mktemp("browser, site & ünicode")
    return build(fakes_store.write(folder / "store"), folder / "site").parent


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs chromium (apt-get install it)")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


class Visit:
    """A page opened from disk. asked: all addresses it requested; complaints: all that it and the browser said."""

    def __init__(self, browser: Any, page: Path, address: str, width: int, scheme: str) -> None:
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(page.as_uri() + (f"#{address}" if address else ""))
        if page.name not in ("methods.html", "measured.html", "claims.html"):
            self.until(READY)

    def until(self, condition: str) -> None:
        """Wait until a condition in JavaScript holds. (Playwright's own way would need ``eval``, which the pages'
        security policy forbids.)"""
        end = time.monotonic() + PATIENCE_MS / 1000
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, f"never: {condition}"
            self.page.wait_for_timeout(20)

    def texts(self, selector: str) -> list[str]:
        """What the elements say."""
        return [str(text) for text in self.page.locator(selector).all_inner_texts()]


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Any, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens a page of a folder, ``site`` if none is named: visit("index.html", address="sort=is", width=400,
    scheme="dark"). Whatever a test does, no page may complain, and none may ask for anything outside the site."""
    opened: list[Visit] = []

    def go(name: str, address: str = "", width: int = 1400, scheme: str = "light", folder: Path | None = None) -> Visit:
        place: Path = folder or request.getfixturevalue("site")
        opened.append(Visit(browser, place / name, address, width, scheme))
        return opened[-1]

    yield go
    for one in opened:
        # Closing delivers what the page was still asking for, and says that it failed: what counts is said before.
        asked, complaints = list(one.asked), list(one.complaints)
        one.page.close()
        assert complaints == []
        assert [url for url in asked if not url.startswith(("file://", "data:", "blob:"))] == []
