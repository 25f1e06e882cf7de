"""A row of foreign samples, in a real browser: marked, without a cost, and every page works with it."""

from collections.abc import Iterator

import numpy as np
import pytest

from harness.cli.command import main
from harness.records.store import Store
from reports.build import build
from tests.browser.conftest import Open
from tests.helpers import fakes_store, light

pytestmark = pytest.mark.slow
NAME = "DiT-XL_2.cfg1.5"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Three trials of others, and foreign samples that were scored."""
    folder = tmp_path_factory.mktemp("foreign")
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    np.savez(folder / "samples.npz", arr_0=images)
    np.savez(folder / "reference.npz", arr_0=255 - images)
    found = Store(folder / "store")
    for record in fakes_store.records()[:3]:
        found.write(record)
    given = [str(folder / "samples.npz"), "--reference", str(folder / "reference.npz")]
    with pytest.MonkeyPatch.context() as patch:
        light.in_place(patch, folder)
        assert main(["score", *given, "--store", str(found.folder), "--name", NAME]) == 0
    build(found.folder, folder / "site")
    yield found


def test_every_page_works_with_foreign_samples_and_marks_them(visit: Open, store: Store) -> None:
    site = store.folder.parent / "site"
    keys = {record["name"]: record["key"][:12] for record in store.records()}
    foreign, other = keys.pop(NAME), next(iter(keys.values()))
    (page,) = (path.name for path in site.glob("method-DiT*.html"))
    for name in ("frontier.html", "methods.html", "measured.html", "claims.html", page):
        visit(name, folder=site)
    visit("compare.html", f"{foreign},{other}", folder=site)
    trial = visit("trial.html", foreign, folder=site)
    assert "Another program made these images" in trial.page.inner_text("#foreign")
    assert trial.page.locator("#command").count() == 0, "it cannot be verified"
    row = visit("index.html", "set=1", folder=site).page.inner_text("#board tbody tr:not(.level)")
    assert NAME in row and "foreign samples" in row
