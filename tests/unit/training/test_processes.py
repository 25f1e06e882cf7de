"""Training in several processes: the same losses as in one, and a killed run goes on."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from PIL import Image

from baselines.single_scale import Bundled
from baselines.var import VAR
from harness import cli
from harness.images.pictures import read_image
from harness.training.folders import FolderContext
from methods.actvar import ActVAR
from tests.helpers.tiny_training import STEPS, command, make_pictures, offer_tiny_presets, together, weights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with 48 pictures in class folders; every method has a preset ``tiny``; every step is logged."""
    make_pictures(tmp_path / "data")
    monkeypatch.setenv("ARBENCH_WEIGHTS", str(tmp_path / "weights"))
    offer_tiny_presets(monkeypatch)
    yield tmp_path
    AcceleratorState._reset_state(reset_partial_state=True)


def losses(folder: Path, name: str, method: str = "var") -> list[float]:
    log = folder / name / f"{method}-tiny" / "log.jsonl"
    return [json.loads(line)["loss"] for line in log.read_text().splitlines()]


@pytest.mark.parametrize("method", ["var", "ear", "raster"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_processes_and_two_parts_lose_what_one_process_loses(folder: Path, method: str, precision: str) -> None:
    ways = {"alone": (1, "1"), "both": (2, "2")}
    if precision == "fp32":
        ways |= {"two": (2, "1"), "parts": (1, "2")}
    for name, (processes, parts) in ways.items():
        asked = command(folder, name, "--precision", precision, "--accumulate", parts, method=method)
        assert together(processes, asked) == [0] * processes
    alone = losses(folder, "alone", method)
    assert len(alone) == STEPS
    assert alone[-1] < alone[0]
    for name in ways.keys() - {"alone"}:
        assert losses(folder, name, method) == pytest.approx(alone, abs=1e-3), name
    assert len(list((folder / "both").glob("tokens-*/*.npz"))) == 1


def test_a_run_of_two_processes_that_is_killed_goes_on_to_the_same_weights(folder: Path) -> None:
    undisturbed = command(folder, "undisturbed")
    assert together(2, undisturbed) == [0, 0]
    killed = command(folder, "killed")
    assert together(2, killed, dies_at=STEPS // 2) == [-signal.SIGKILL] * 2
    assert not weights(folder, "killed").exists()
    assert together(2, killed) == [0, 0]
    assert losses(folder, "killed") == losses(folder, "undisturbed")
    assert weights(folder, "killed").read_bytes()[-1000:] == weights(folder, "undisturbed").read_bytes()[-1000:]


def test_a_student_is_distilled_from_the_teacher_given_and_loads_from_where_it_is_looked_for(folder: Path) -> None:
    assert together(1, command(folder, "teacher")) == [0]
    teacher = weights(folder, "teacher")
    asked = command(folder, "student", "--teacher", str(teacher), method="actvar")
    out = asked.index("--out")
    assert together(1, asked[:out] + asked[out + 2 :]) == [0]
    assert ActVAR.bundled_weights("tiny") == folder / "weights" / "actvar-tiny.safetensors"
    VAR.bundled_weights("tiny").write_bytes(teacher.read_bytes())
    student: Bundled = ActVAR.load("tiny")
    assert set(student.provenance.weights) >= {"actvar-tiny.safetensors", "var-tiny.safetensors"}


def test_what_is_missing_or_cannot_be_cut_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = command(folder, "run")
    for more, said in (
        (["--batch", "9", "--accumulate", "2"], "a batch of 9 cannot be cut evenly into 2 parts"),
        (["--data", str(folder / "nowhere")], "nowhere is no folder"),
        (["--precision", "fp8"], "--precision 'fp8' is unknown (valid: fp32, bf16)"),
    ):
        assert cli.main([*asked, *more]) == 2
        assert said in capsys.readouterr().err
    assert cli.main(["train", "ear", "--preset", "tiny"]) == 2
    assert "--data FOLDER" in capsys.readouterr().err


def test_class_folders_that_are_not_the_presets_classes_are_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", ".ipynb_checkpoints"):
        (tmp_path / "few" / name).mkdir(parents=True)
        Image.new("L", (28, 28)).save(tmp_path / "few" / name / "0.png")
    asked = ["train", "var", "--preset", "tiny", "--runs", str(tmp_path), "--data", str(tmp_path / "few")]
    assert cli.main([*asked, "--out", str(tmp_path / "out.safetensors")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("few holds 2 class folders, preset tiny has 10 classes")


def test_images_are_cut_from_the_middle_at_the_side_asked_for(tmp_path: Path) -> None:
    wide = Image.new("RGB", (100, 40), "blue")
    wide.paste("red", (30, 0, 70, 40))
    wide.save(tmp_path / "wide.png")
    found = read_image(tmp_path / "wide.png", 16, 3)
    assert found.shape == (3, 16, 16)
    assert found[:, :, 2:14].float().mean((1, 2)).tolist() == pytest.approx([255, 0, 0], abs=20)
    context = FolderContext("pictures", tmp_path, tmp_path)
    with pytest.raises(Exception, match="holds no class folders with images"):
        context.labels()
