"""Rows from others: what was measured elsewhere comes in marked, what is hostile or broken does not come in at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cli
from harness.errors import ArbenchError
from harness.hashing import digest
from harness.records import admission, packs
from harness.records.store import Store
from harness.records.submissions import admit, submit
from reports import table
from tests.helpers import submitting, sweeping
from tests.helpers.submitting import better, contents, forged, members, packed


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of three trials that were really run."""
    with submitting.measured(tmp_path_factory.mktemp("measured")) as store:
        yield store


@pytest.fixture(scope="module")
def valid(measured: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A submission of those."""
    return submitting.submitted(measured, tmp_path_factory.mktemp("valid"))


def test_a_submission_goes_in_marked_and_is_verified_on_demand(
    valid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "theirs")
    assert cli.main(["import", str(valid), "--store", folder]) == 0
    store = Store(tmp_path / "theirs")
    assert {one["submission"]["by"] for one in store.records()} == {"A. Stranger"}
    assert {one["submission"]["verified"] for one in store.records()} == {None}
    rows = table.tidy(store.records(), "tiny")
    assert all("submitted, not verified" in settings for settings in rows["settings"])
    assert all(len(store.arrays(one)["thumbnails"]) for one in store.records())
    assert cli.main(["verify", "--store", folder, "--workers", "0"]) == 0
    assert capsys.readouterr().out.count("\nreproduced: fake[") + 1 >= 3
    assert all(one["submission"]["verified"]["at"] for one in store.records())
    assert all("submitted, verified" in words for words in table.tidy(store.records(), "tiny")["settings"])


def test_a_submission_tells_no_host_and_no_folder(valid: Path, measured: Store) -> None:
    host = measured.records()[0]["provenance"]["machine"]["host"]
    for record, _ in packs.read(valid).records:
        assert record["provenance"]["machine"]["host"] == record["timing"]["machine"]["host"] == ""
        assert not any("/" in part for part in record["provenance"]["command"])
    assert host


def test_importing_twice_changes_nothing(valid: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    assert admit(valid, store) == (3, 0)
    before = contents(tmp_path)
    assert admit(valid, store) == (0, 3)
    assert contents(tmp_path) == before


def test_what_was_measured_here_stands_before_what_was_submitted(valid: Path, measured: Store, tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    admit(valid, store)
    (mine, *_) = measured.records()
    other = {**mine, "key": "0" * 64}
    other["provenance"] = {**mine["provenance"], "finished": "2001-01-01T00:00:00+00:00"}
    store.write(other, measured.arrays(mine))
    assert [one["key"] for one in store.records() if one["name"] == mine["name"]] == ["0" * 64]


def test_a_submitted_record_does_not_keep_a_trial_from_being_measured_here(valid: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    admit(valid, store)
    (tmp_path / "small.toml").write_text(sweeping.SWEEP)
    assert cli.main(["run", str(tmp_path / "small.toml"), "--store", str(store.folder), "--workers", "0"]) == 0
    assert not any("submission" in one for one in store.records())


def test_rows_of_others_are_not_submitted_again(valid: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    admit(valid, store)
    with pytest.raises(ArbenchError, match="no finished record to submit"):
        submit(store, tmp_path / "again", "me")


def test_a_forged_figure_is_found_out_by_running_the_trial_again(
    valid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = packed(tmp_path, forged(members(valid), lambda record: better(record)))
    store = Store(tmp_path / "s")
    assert admit(path, store) == (3, 0)
    assert cli.main(["verify", "--store", str(store.folder), "--workers", "0"]) == 1
    assert "not reproduced: fake[preset=tiny,steps=1," in capsys.readouterr().out
    assert [bool(one["submission"]["verified"]) for one in store.records()] == [False, True, True]


def test_a_record_under_a_key_that_is_here_with_other_figures_is_refused(
    valid: Path, measured: Store, tmp_path: Path
) -> None:
    store = Store(tmp_path / "s")
    for record in measured.records():
        store.write(record, measured.arrays(record))
    before = contents(store.folder)
    with pytest.raises(ArbenchError, match="already, with other figures"):
        admit(packed(tmp_path, forged(members(valid), better)), store)
    assert contents(store.folder) == before


def test_a_name_of_a_method_that_is_not_installed_is_admitted_by_its_form(valid: Path) -> None:
    record, arrays = packs.read(valid).records[0]
    record["trial"]["method"] = record["identity"]["generate"]["method"] = "strangers-own"
    record["name"] = record["name"].replace("fake[", "strangers-own[")
    record["key"] = digest(record["identity"])
    admission.check(record, arrays)
