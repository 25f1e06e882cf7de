"""A store of 5,000 records: how long its pages take to write and to open, and how large they are."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from reports.build import build
from reports.explorer import LIBRARY
from tests.browser.conftest import Open
from tests.helpers import fakes_store, sweeping
from tests.helpers.pace import pace

pytestmark = pytest.mark.slow

COUNT = 5000
FIRST_PAGE = {"index.html", "data/leaderboard.js"}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The site, and the seconds of a processor that it took: what else the machine does meanwhile is not ours."""
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)  # of the store, which is not what is timed
        records = fakes_store.many(COUNT)

        def write_half(first: int) -> int:
            fakes_store.write(folder / "store", records[first::2])
            return 0

        other = sweeping.fork(lambda: write_half(0))
        write_half(1)
        assert sweeping.exit_code(other) == 0
    started = time.process_time()
    index = build(folder / "store", folder / "site")
    return index.parent, time.process_time() - started


def test_it_is_written_within_thirty_seconds(large: tuple[Path, float]) -> None:
    assert large[1] < 30 * pace()


def test_the_site_is_under_30_mb_and_the_first_page_under_2(large: tuple[Path, float]) -> None:
    sizes = {
        path.relative_to(large[0]).as_posix(): path.stat().st_size for path in large[0].rglob("*") if path.is_file()
    }
    assert sum(sizes.values()) < 30e6
    assert sizes[f"static/{LIBRARY}"] > 1e6
    first = [size for name, size in sizes.items() if name in FIRST_PAGE or name.startswith("static/")]
    assert sum(first) - sizes[f"static/{LIBRARY}"] < 2e6
    assert sum(name.startswith("data/trial-") for name in sizes) == COUNT
    assert sum(name.startswith("images/") for name in sizes) >= COUNT


def test_the_leaderboard_answers_within_two_seconds_of_opening(
    visit: Open, browser: Any, large: tuple[Path, float]
) -> None:
    taken = []
    for _ in range(3):  # the best of three: a shared machine is slow at times, never fast by chance
        page = browser.new_page()
        started = time.perf_counter()
        page.goto((large[0] / "index.html").as_uri())
        page.wait_for_selector("html[data-ready=yes]")
        page.click("#board th button:has-text('Latency')")
        page.wait_for_selector("#board th[aria-sort]:has-text('Latency')")
        taken.append(time.perf_counter() - started)
        page.close()
    assert min(taken) < 2
    seen = visit("index.html", "rows=all", folder=large[0])
    assert seen.page.locator("#board tbody tr:not(.level)").count() == 100
    seen.page.click("#more")
    assert seen.page.locator("#board tbody tr:not(.level)").count() == 1100
