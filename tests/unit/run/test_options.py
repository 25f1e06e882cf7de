"""What users ask of one run: some of the trials, no timing, weights of their own, a report while it goes on."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness import cli
from harness.checkpoints.tensors import write_weights
from harness.hashing import sha256
from harness.records.store import Record, Store
from harness.run import live
from reports.build import HIDDEN, build
from reports.site import read
from tests.helpers import sweeping


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder with the small sweep in it, the fake method in the real ones' place."""
    with sweeping.in_folder(tmp_path) as patch:
        patch.setenv(sweeping.LOST, str(tmp_path / "fake.safetensors"))
        patch.setenv(sweeping.LOG, str(tmp_path / "sampled.log"))
        yield tmp_path


def run(folder: Path, *more: str) -> int:
    sweep, store = str(folder / "small.toml"), str(folder / "store")
    return cli.main(["run", sweep, "--store", store, "--batch", str(sweeping.BATCH), "--workers", "0", *more])


def records(folder: Path) -> list[Record]:
    return Store(folder / "store").records()


def shards(folder: Path) -> list[str]:
    log = folder / "sampled.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if line.startswith(f"{sweeping.COMPUTED} ")]


def own_weights(folder: Path) -> Path:
    """Weights that nobody bundled."""
    method = sweeping.SweepMethod()
    with torch.no_grad():
        for own in method.parameters():
            own.add_(0.1)
    write_weights(folder / "mine.safetensors", method.state_dict(), {})
    return folder / "mine.safetensors"


def refused(capsys: pytest.CaptureFixture[str], folder: Path) -> str:
    """The one line that was said; nothing was computed."""
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == "" and line.startswith("arbench: ")
    assert not shards(folder) and not (folder / "store" / "work").exists()
    return line


# --- some trials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "steps"),
    [
        (["*steps=2,*"], [2]),
        (["*steps=1,*", "*steps=4,*"], [1, 4]),
        (["fake"], [1, 2, 4]),
        (["f*"], [1, 2, 4]),
        (["fake[[]preset=tiny*", "*steps=1,*"], None),
        (["fake[preset=tiny,steps=1,*"], [1]),  # brackets are part of a name
        (["fake[preset=tiny,steps=1,cfg=1.5,seed=0]"], [1]),
    ],
    ids=str,
)
def test_only_the_trials_that_are_asked_for_are_run(
    small: Path, patterns: list[str], steps: list[int] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(small, *(part for pattern in patterns for part in ("--only", pattern)))
    if steps is None:
        assert code == 2
    else:
        assert code == 0
        assert [record["trial"]["knobs"]["steps"] for record in records(small)] == steps
        assert f"{len(steps)} trial{'s' * (len(steps) > 1)}: {len(steps)} measured" in capsys.readouterr().out


def test_a_pattern_that_matches_nothing_says_what_there_is(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(small, "--only", "fake", "--only", "eer") == 2
    line = refused(capsys, small)
    assert "--only 'eer' matches no trial (methods: fake; trials: fake[preset=tiny,steps=1,cfg=1.5,seed=0]; " in line


# --- no timing --------------------------------------------------------------------------------------------------------


def test_without_timing_records_are_whole_but_for_it_and_a_later_run_adds_it_alone(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small, "--no-timing") == 0
    assert "3 trials: 3 measured" in capsys.readouterr().out
    before, made = records(small), shards(small)
    assert [record["timing"] for record in before] == [None] * 3
    assert all(record["status"] == "done" and record["quality"]["fid"] for record in before)
    assert run(small, "--no-timing") == 0
    assert "3 trials: 0 measured, 3 already recorded" in capsys.readouterr().out
    site = build(small / "store", small / "site").parent
    assert "not timed" in (site / "data" / "leaderboard.js").read_text()
    assert "Finished trials without time: 3" in (site / "index.html").read_text()

    assert run(small) == 0
    after = records(small)
    assert all(record["timing"]["latency"]["samples"] for record in after)
    assert shards(small) == made
    for one, other in zip(before, after, strict=True):
        for part in ("name", "key", "identity", "generate", "quality", "flops", "parameters"):
            assert one[part] == other[part]
    site = build(small / "store", small / "site").parent
    assert "not timed" not in (site / "data" / "leaderboard.js").read_text()


def test_records_without_timing_are_compared_exported_and_verified(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small, "--no-timing") == 0
    store = str(small / "store")
    names = [record["name"] for record in records(small)]
    assert cli.main(["compare", *names[:2], "--store", store]) == 0
    assert cli.main(["export", "--store", store, "--out", str(small / "all.csv")]) == 0
    assert cli.main(["diff", store, store]) == 0
    path = next((small / "store" / "records").glob("*.json"))
    assert cli.main(["verify", str(path), "--workers", "0"]) == 0
    capsys.readouterr()
    assert cli.main(["submit", "--store", store, "--out", str(small / "rows"), "--by", "me"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "would be refused" in line and "timing" in line


def test_timing_left_out_and_waiting_left_out_are_refused_together(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small, "--no-timing", "--no-wait", "--cluster", "slurm") == 2
    assert "--no-timing with --no-wait" in refused(capsys, small)


# --- weights of one's own ---------------------------------------------------------------------------------------------


def test_a_checkpoint_of_ones_own_is_named_in_the_record_and_marked_in_the_report(small: Path) -> None:
    assert run(small, "--only", "*steps=2,*") == 0
    mine = own_weights(small)
    assert run(small, "--only", "*steps=2,*", "--checkpoint", f"fake={mine}") == 0
    bundled, own = sorted(records(small), key=lambda record: "weights=own" in record["name"])
    digest = sha256(mine)
    assert own["name"] == bundled["name"].replace(",seed=0]", f",weights=own-{digest[:8]},seed=0]")
    assert own["key"] != bundled["key"]
    assert own["provenance"]["weights"] == {"mine.safetensors": digest}
    assert own["provenance"]["checkpoint"] == {"file": str(mine), "sha256": digest}
    assert own["quality"]["fid"] != bundled["quality"]["fid"]
    assert "checkpoint" not in bundled["provenance"]
    settings = set(read(small / "store").rows["settings"])
    assert sum(f"own weights {digest[:8]}" in words for words in settings) == 1


def test_a_preset_s_checkpoint_is_for_that_preset(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = own_weights(small)
    assert run(small, "--checkpoint", f"fake/tiny={mine}", "--no-timing") == 0
    assert all("weights=own-" in record["name"] for record in records(small))
    capsys.readouterr()
    assert run(small, "--checkpoint", f"fake/lost={mine}") == 2
    assert "--checkpoint fake/lost=...: no trial is of it (there are trials of fake/tiny)" in capsys.readouterr().err


def test_a_record_on_own_weights_is_verified_with_them(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = own_weights(small)
    assert run(small, "--only", "*steps=2,*", "--checkpoint", f"fake={mine}", "--no-timing") == 0
    path = next((small / "store" / "records").glob("*.json"))
    verify = ["verify", str(path), "--workers", "0"]
    capsys.readouterr()
    assert cli.main(verify) == 2
    assert "is on weights of one's own: --checkpoint fake=FILE names them" in capsys.readouterr().err
    assert cli.main([*verify, "--checkpoint", f"fake={mine}"]) == 0
    assert capsys.readouterr().out.startswith("reproduced: fake[")
    other = small / "other" / "mine.safetensors"
    other.parent.mkdir()
    other.write_bytes((small / "fake.safetensors").read_bytes())
    assert cli.main([*verify, "--checkpoint", f"fake={other}"]) == 1
    assert "weights: mine.safetensors is " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["fake"], "--checkpoint 'fake' is not METHOD=FILE or METHOD/PRESET=FILE"),
        (["=x"], "is not METHOD=FILE"),
        (["fkae=MINE"], "unknown method 'fkae'; did you mean 'fake'?"),
        (["fake/small=MINE"], "unknown preset of fake 'small'"),
        (["fake=nothing.safetensors"], "there is no file nothing.safetensors"),
        (["fake=."], "no file ."),
        (["fake=MINE", "fake=MINE"], "--checkpoint: fake is given twice"),
        (["fake=small.toml"], "small.toml"),
    ],
    ids=str,
)
def test_a_checkpoint_that_cannot_be_is_one_line_before_any_work(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    monkeypatch.chdir(small)
    mine = str(own_weights(small))
    assert run(small, *(part for one in given for part in ("--checkpoint", one.replace("MINE", mine)))) == 2
    assert said in refused(capsys, small)


# --- another device ---------------------------------------------------------------------------------------------------


def made_on_a_gpu(path: Path) -> None:
    record = json.loads(path.read_text())
    record["provenance"]["device"] = "cuda"
    path.write_text(json.dumps(record))


def test_a_record_of_a_gpu_is_verified_on_a_cpu_within_its_interval_and_says_so(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small) == 0
    paths = sorted((small / "store" / "records").glob("*.json"))
    made_on_a_gpu(paths[0])
    capsys.readouterr()
    assert cli.main(["verify", *map(str, paths), "--workers", "0", "--device", "cpu", "--only", "*steps=1,*"]) == 0
    name = json.loads(paths[0].read_text())["name"]
    said = f"reproduced: {name} (made on cuda, verified on cpu: scores within their intervals)\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(("share", "code", "said"), [(0.4, 0, "reproduced: "), (3.0, 1, "not reproduced: ")])
def test_a_figure_that_moved_on_a_gpu_is_reproduced_within_its_interval_and_not_outside(
    small: Path, capsys: pytest.CaptureFixture[str], share: float, code: int, said: str
) -> None:
    """The record's figure, with its interval, lies off what a CPU gives by a share of half the interval's width."""
    assert run(small, "--only", "*steps=2,*", "--no-timing") == 0
    path = next((small / "store" / "records").glob("*.json"))
    made_on_a_gpu(path)
    record = json.loads(path.read_text())
    quality, (extractor,) = record["quality"], record["quality"]["fid"]
    low, high = quality["intervals"]["fid"][extractor]
    off = share * (high - low) / 2
    quality["fid"][extractor] += off
    quality["intervals"]["fid"][extractor] = [low + off, high + off]
    path.write_text(json.dumps(record))
    capsys.readouterr()
    assert cli.main(["verify", str(path), "--workers", "0"]) == code
    shown = capsys.readouterr().out
    assert shown.startswith(said)
    assert ("fid." in shown) == (code == 1)


def test_verify_on_a_device_that_is_not_there_is_one_line(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(small, "--no-timing") == 0
    path = next((small / "store" / "records").glob("*.json"))
    capsys.readouterr()
    assert cli.main(["verify", str(path), "--device", "xla:7"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "xla:7" in line
    assert cli.main(["verify", str(path), "--only", "eer"]) == 2
    assert "--only 'eer' matches no trial" in capsys.readouterr().err


# --- a report while the run goes on -----------------------------------------------------------------------------------


class Written:
    """In the place of the process that writes a report: notes what it was asked for."""

    pid = 2**22 + 1  # no process has so high a number

    def __init__(self, folder: Path) -> None:
        self.folder, self.ended = folder, 0
        self.asked: list[list[str]] = []
        self.timed: list[int] = []

    def __call__(self, command: list[str], **options: Any) -> "Written":
        self.asked.append(command)
        self.timed.append(sum(record["timing"] is not None for record in records(self.folder)))
        return self

    def poll(self) -> int:
        return 0

    def wait(self) -> int:
        return 0

    def terminate(self) -> None:
        self.ended += 1

    @property
    def notes(self) -> list[str]:
        return [one[one.index("--note") + 1].partition(": ")[2] if "--note" in one else "" for one in self.asked]


@pytest.fixture
def written(small: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    made = Written(small)
    monkeypatch.setattr(live, "subprocess", SimpleNamespace(Popen=made, DEVNULL=subprocess.DEVNULL))
    monkeypatch.setattr(live, "LEAST_S", 0.0)
    monkeypatch.setattr(live, "SHARE", 0)
    return made


def test_the_report_says_what_is_open_while_the_run_goes_on_and_nothing_at_its_end(
    small: Path, written: Written
) -> None:
    assert run(small, "--report", str(small / "site")) == 0
    assert written.notes == [
        "1 of 3 trials measured; timing is still to come; this page is written anew as trials finish.",
        "2 of 3 trials measured; timing is still to come; this page is written anew as trials finish.",
        "3 of 3 trials measured; timing is still to come; this page is written anew as trials finish.",
        "3 of 3 trials measured; timing is still to come; this page is written anew when it is taken.",
        "",
    ]
    assert written.timed == [0, 0, 0, 0, 3]  # none while time is taken
    assert run(small, "--report", str(small / "site")) == 0
    assert written.notes[5:] == [""]


def test_an_interrupt_ends_the_report_that_is_being_written(
    small: Path, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(written, "poll", lambda: None, raising=False)
    monkeypatch.setattr("harness.run.driver.Run._time", interrupt)
    assert run(small, "--report", str(small / "site")) == 130
    assert written.ended == 1
    assert written.notes[-1] != ""


def test_a_report_of_an_open_run_says_so_on_every_page_and_leaves_no_draft(small: Path) -> None:
    assert run(small, "--no-timing") == 0
    build(small / "store", small / "site", "1 of 3 trials <measured>")
    pages = sorted((small / "site").glob("*.html"))
    assert len(pages) >= 4
    assert all("1 of 3 trials &lt;measured&gt;" in page.read_text() for page in pages)
    assert not (small / "site" / "frontier.html").exists()
    build(small / "store", small / "site")
    assert all("1 of 3" not in page.read_text() for page in (small / "site").glob("*.html"))
    assert (small / "site" / "frontier.html").exists()
    assert not list((small / "site").glob(".*"))


def test_a_report_that_is_ended_half_way_leaves_the_pages_as_they_were(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(small, "--no-timing") == 0
    site = small / "site"
    build(small / "store", site)
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    leftover = site / f"{HIDDEN}4194305" / "index.html"  # of a process that was killed: no process has so high a number
    leftover.parent.mkdir()
    leftover.write_text("half")

    def interrupted(*given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("reports.build.write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(small / "store", site, "note")
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before
