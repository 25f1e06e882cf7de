"""Sweep and site files as people really write them: odd numbers, odd encodings, a folder of the same name."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import baselines.commands
from harness import cli, sweep
from harness.cluster import site
from harness.errors import ArbenchError
from harness.records.store import Store
from tests.helpers import sweeping

HUGE = "1" + "0" * 400
DIGITS = "9" * 5000
HEAD = 'preset = "tiny"\n'


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with sweeping.in_place():
        yield


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """What arbench says of a command that it refuses, in one line."""
    assert cli.main(list(command)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


def test_a_folder_called_like_a_bundled_sweep_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smoke").mkdir()
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    (bundled / "smoke.toml").write_text(sweeping.SWEEP)
    monkeypatch.setattr(sweep, "BUNDLED", bundled)
    monkeypatch.chdir(tmp_path)
    assert len(sweep.load(Path("smoke")).trials) == 3


def test_a_run_into_a_store_called_like_its_sweep_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    (bundled / "smoke.toml").write_text(sweeping.SWEEP)
    monkeypatch.setattr(sweep, "BUNDLED", bundled)
    monkeypatch.setenv(sweeping.WEIGHTS, str(sweeping.make_weights(tmp_path / "fake.safetensors")))
    monkeypatch.chdir(tmp_path)
    command = ["run", "smoke", "--store", "smoke", "--workers", "0"]
    assert cli.main(command) == 0
    assert cli.main(command) == 0
    assert "3 already recorded" in capsys.readouterr().out


def test_any_other_folder_is_told_not_to_be_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "run", str(tmp_path), "--store", str(tmp_path / "store"))
    assert f"{tmp_path} is a folder, no sweep file (bundled sweeps: fmnist, " in line
    assert not (tmp_path / "store").exists()


def test_a_sweep_name_too_long_for_the_file_system_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "File name too long" in refused(capsys, "run", "x" * 300, "--store", "nowhere")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[method.fake]\nknobs = { warmth = nan }", "knob warmth = nan is out of range (valid: float from 0 to 1)"),
        ("[method.fake]\nknobs = { warmth = -inf }", "knob warmth = -inf is out of range"),
        (f"[method.fake]\nknobs = {{ warmth = {HUGE} }}", "knob warmth = 1000"),
        (f"[method.fake]\nknobs = {{ steps = {HUGE} }}", "is out of range (valid: int from 1 to 4)"),
        ("[method.fake]\nknobs = { steps = true }", "knob steps = True is out of range"),
        ("[method.fake]\nknobs = { steps = -1 }", "knob steps = -1 is out of range"),
        ("[method.fake]\nsampling = { cfg = nan }", "sampling: cfg = nan is not of type float"),
        ("[method.fake]\nsampling = { cfg = inf }", "sampling: cfg = inf is not of type float"),
        (f"[method.fake]\nsampling = {{ cfg = {HUGE} }}", "sampling: cfg = 1000"),
        (f"[method.fake]\nsampling = {{ top_k = {HUGE} }}", "sampling: top_k = 1000"),
        ("[method.fake]\nsampling = { top_k = true }", "sampling: top_k = True is not of type int"),
        ("[method.fake]\nsampling = { top_k = -1 }", "top_k = -1 is out of range (valid: 0 (off) to 10^9)"),
        (f"images = {HUGE}\n[method.fake]", "images = 1000"),
        ("images = -5\n[method.fake]", "images = -5 is out of range"),
        ("images = 1e3\n[method.fake]", "key 'images' must be a whole number, got 1000.0"),
        ("seed = true\n[method.fake]", "key 'seed' must be a whole number or a list, got True"),
        ("seed = [0, -1]\n[method.fake]", "seed = -1 is out of range"),
        (f"seed = {HUGE}\n[method.fake]", "seed = 1000"),
        (f"[method.fake]\nknobs = {{ steps = {DIGITS} }}", "not valid TOML: a number has thousands of digits"),
        (f"[method.fake]\nknobs = {{ steps = 0x{DIGITS} }}", "knob steps = a int too large to be shown"),
        ("x = " + "[" * 5000 + "]" * 5000, "nested too deep"),
        ("[timing]\nlatency_seconds = nan\n[method.fake]", "key 'latency_seconds' must be a number from 0 to"),
        ("[timing]\nlatency_seconds = inf\n[method.fake]", "key 'latency_seconds' must be a number from 0 to"),
        (f"[timing]\nlatency_seconds = {HUGE}\n[method.fake]", "key 'latency_seconds' must be a number from 0 to"),
        ("[timing]\nsettled = -0.1\n[method.fake]", "key 'settled' must be a number from 0 to"),
        ("[timing]\nseed = -1\n[method.fake]", "key 'seed' must be a whole number from 0 to"),
        (f"[timing]\nmax_rounds = {HUGE}\n[method.fake]", "key 'max_rounds' must be a whole number from 0 to"),
        ("[timing]\nwarmup = true\n[method.fake]", "key 'warmup' must be a whole number from 0 to"),
        (
            f"seed = {list(range(400))}\n[method.fake]\ngrid = {{ steps = {[1] * 400} }}",
            "160000 trials would come of it (valid: up to 100000)",
        ),
    ],
)
def test_a_number_that_cannot_be_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "odd.toml").write_text(HEAD + text)
    line = refused(capsys, "run", str(tmp_path / "odd.toml"), "--store", str(tmp_path / "store"))
    assert said in line
    assert len(line) < 400
    assert [path.name for path in tmp_path.iterdir()] == ["odd.toml"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"poll-seconds = {HUGE}", "'poll-seconds' must be a whole number of seconds from 1 to"),
        (f"nodes = {HUGE}", "'nodes' must be a string, a number of up to 9 digits or true"),
        ("nodes = nan", "'nodes' must be a string, a number"),
        ("signal-seconds = -1", "'signal-seconds' must be a whole number of seconds"),
        ("time = true", "time 'True' is none of Slurm's"),
        (f'time = "{DIGITS}"', "is none of Slurm's"),
        ('comment = "a\\u0000b"', "'comment' must be a string in one line"),
        ('setup = ["a\\u0000b"]', "'setup' must be a list of strings"),
        ('python = "\\"python"', "'python' must be a command of shell"),
        ('container = " "', "'container' must be a command of shell"),
    ],
)
def test_a_value_that_cannot_be_in_a_site_file_is_told(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(content)
    with pytest.raises(ArbenchError) as caught:
        site.load(path, {})
    assert said in str(caught.value)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "notepad.toml"
    path.write_bytes(b"\xef\xbb\xbf" + sweeping.SWEEP.replace("\n", "\r\n").encode())
    assert len(sweep.load(path).trials) == 3
    path.write_bytes(b"\xef\xbb\xbfpartition = 'gpu'\r\n")
    assert site.load(path, {}).common == {"partition": "gpu"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "latin-1"])
def test_a_file_in_another_encoding_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_bytes(f"# für alle\n{sweeping.SWEEP}".encode(encoding))
    line = refused(capsys, "run", str(path), "--store", str(tmp_path / "store"))
    assert ("it is in UTF-16" if encoding == "utf-16" else "odd.toml: not ") in line
    with pytest.raises(ArbenchError, match=r"odd\.toml: not "):
        site.load(path, {})


@pytest.mark.parametrize(
    "twice",
    [
        "grid = { warmth = [0.0, -0.0, 0] }",
        "grid = { warmth = [0.5, 0.50, 5e-1] }",
        "grid = { steps = [1, 1.0, 0x1] }",
        "sampling = { cfg = [0.0, -0.0, 0] }",
        "sampling = { cfg = [2, 2.0] }",
        "sampling = { top_k = [4, 4.0] }",
        "seed = [3, 3]",
        "list = [{ warmth = 0.0 }, { warmth = -0.0 }, {}]",
    ],
)
def test_equal_trials_under_two_spellings_are_one(tmp_path: Path, twice: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(f"{HEAD}[method.fake]\n{twice}\n")
    (trial,) = sweep.load(path).trials
    assert "-0" not in str(trial.settings())


def test_equal_timing_protocols_under_two_spellings_are_one() -> None:
    from harness.stages.timing.protocol import protocol

    one, other = (
        protocol({"least_seconds": 2, "settled": 0}, "x"),
        protocol({"least_seconds": 2.0, "settled": -0.0}, "x"),
    )
    assert repr(one) == repr(other)


@pytest.mark.parametrize("text", ["cfg=nan", "cfg=1e400", f"cfg={HUGE}", f"cfg={DIGITS}", "steps=inf", "steps=true"])
def test_an_odd_number_on_the_command_line_is_one_line(capsys: pytest.CaptureFixture[str], text: str) -> None:
    line = refused(capsys, "flops", "fake", "--preset", "tiny", "--set", text)
    assert "cfg" in line or "steps" in line


@pytest.mark.parametrize("given", [["--images", DIGITS], ["--images", "nan"], ["--batch", "-1"], ["--workers", "1.5"]])
def test_an_odd_count_on_the_command_line_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "smoke", "--store", str(tmp_path / "store"), *given])
    assert caught.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "is not a whole number of at least" in line and len(line) < 300
    assert not os.listdir(tmp_path)  # noqa: PTH208 - hidden files too


def test_verify_refuses_fewer_workers_than_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["verify", "--workers", "-1"])
    assert caught.value.code == 2
    assert "'-1' is not a whole number of at least 0" in capsys.readouterr().err


def test_nothing_that_a_file_holds_reaches_the_terminal_as_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.toml").write_text(HEAD + '[method."\\u001b[2J\\u202e"]')
    line = refused(capsys, "run", str(tmp_path / "odd.toml"), "--store", str(tmp_path / "store"))
    assert "\\x1b[2J\\u202e" in line
    assert "\x1b" not in line and "\u202e" not in line
    assert not Store(tmp_path / "store").records_folder.exists()


def test_a_run_whose_weights_are_damaged_leaves_no_store_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "fake.safetensors"
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    monkeypatch.setenv(sweeping.WEIGHTS, str(weights))
    (tmp_path / "small.toml").write_text(sweeping.SWEEP)
    command = ["run", str(tmp_path / "small.toml"), "--store", str(tmp_path / "store"), "--workers", "0"]
    assert "it is a Git LFS pointer" in refused(capsys, *command)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fake.safetensors", "small.toml"]
    Store(tmp_path / "store").prepare()  # one that was there before stays
    refused(capsys, *command)
    assert (tmp_path / "store" / "records").is_dir()


@pytest.mark.parametrize("given", ["nan", "inf", "-1", "1e400", "many"])
def test_an_odd_number_of_a_training_is_refused(capsys: pytest.CaptureFixture[str], given: str) -> None:
    for option, valid in (("--lr", "above 0"), ("--save-minutes", "of at least 0")):
        parser = argparse.ArgumentParser()
        baselines.commands.add(parser.add_subparsers())
        with pytest.raises(SystemExit):
            parser.parse_args(["train", "var", f"{option}={given}"])
        assert f"{given!r} is not a number {valid}" in capsys.readouterr().err
    asked = parser.parse_args(["train", "var", "--save-minutes", "0"])  # after every step
    assert asked.save_minutes == 0
