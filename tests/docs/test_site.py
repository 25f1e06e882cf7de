"""`nox -s docs` makes pages that are whole, open from disk and ask for nothing outside."""

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.records import shape
from tests.browser.conftest import browser  # noqa: F401 - a fixture
from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs-site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        str(ROOT / "docs"),
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def opened(browser: Any, pages: Path) -> Iterator[Any]:  # noqa: F811 - the fixture
    """Opens a page at a width; whatever it asks for lies in the folder, and it has no complaint."""
    asked: list[str] = []
    complaints: list[str] = []

    def go(name: str, width: int = 1400, asks: str = "") -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((pages / name).as_uri() + asks)
        return page

    yield go
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []


def test_every_sub_command_and_every_method_is_in_the_reference(pages: Path) -> None:
    shown = (pages / "reference" / "commands.html").read_text()
    for command in ("list", "run", "flops", "weights fetch", "score", "reference build", "train", "report", "claims"):
        assert f">arbench {command}<" in shown
    methods = (pages / "reference" / "methods.html").read_text()
    for name in ("methods.ear.EAR", "methods.actvar.ActVAR", "baselines.raster.Raster", "baselines.var.VAR"):
        assert f'id="{name}"' in methods


def test_the_reference_explains_the_fields_of_classes(pages: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (pages / "reference" / "harness.html").read_text())
    for field, words in (
        ("steps", "int64 [B]"),
        ("min_rounds", "two disturbed rounds"),
        ("extractor", "name of the extr"),
    ):
        assert re.search(rf"^{field}: .*{re.escape(words)}", text, re.MULTILINE | re.IGNORECASE), field


def test_the_page_of_a_record_shows_every_part_with_what_it_means(pages: Path) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", "", (pages / "reference" / "record.html").read_text()))
    for name in (
        *shape.Record.__struct_fields__,
        *shape.Throughput.__struct_fields__,
        *shape.Quality.__struct_fields__,
    ):
        assert re.search(rf"^ *{name}( = |:  #)", text, re.MULTILINE), name
    assert re.search(r"^ +images_per_s = \d+\.\d+  # images a second$", text, re.MULTILINE)
    assert re.search(r"^ +fid = .*  # Fréchet distance to the reference images$", text, re.MULTILINE)


def test_public_modules_are_in_the_reference() -> None:
    named = {name for page in (ROOT / "docs" / "reference").glob("*.rst") for name in modules(page)}
    private = re.compile(
        r"__init__|conftest|/test_|recipes|heap|garbage|cli|commands|conformance|skeleton|methods/looks"
    )
    for module in named:
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module
    for folder in ("harness", "methods", "baselines/tokenizers"):
        own = [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")]
        lacking = {path[:-3].replace("/", ".") for path in own if not private.search(path)} - named
        assert lacking == set()


def modules(page: Path) -> list[str]:
    """The modules that a page of the reference is made from."""
    return re.findall(r"automodule:: (\S+)", page.read_text())


@pytest.mark.parametrize("width", [1400, 400])
def test_pages_open_from_disk_and_fit(opened: Any, width: int) -> None:
    for name in ("index.html", "tutorial.html", "measuring.html", "reference/methods.html"):
        page = opened(name, width)
        assert page.locator("h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, name


def test_search_finds_a_word_without_a_server(opened: Any) -> None:
    page = opened("search.html", asks="?q=tilt")
    page.wait_for_selector("ul.search li a")
    assert page.locator("ul.search li a").count() >= 1
