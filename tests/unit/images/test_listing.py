"""No image of a folder is left out, or counted, in silence: links, unreadable and hidden folders, other endings."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.errors import ArbenchError
from harness.images.listing import content_sha256, pictures_under
from harness.images.samples import open_samples
from harness.training.folders import FolderContext


def picture(path: Path, level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (level, level, level)).save(path, "PNG")
    return path


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two class folders of two images each, one of them a link to another place."""
    for name in ("a", "b"):
        for number in range(2):
            picture(tmp_path / "elsewhere" / name / f"{number}.png", number)
    folder = tmp_path / "data"
    (folder / "b").mkdir(parents=True)
    (folder / "b").rmdir()
    (tmp_path / "elsewhere" / "b").rename(folder / "b")
    (folder / "a").symlink_to(tmp_path / "elsewhere" / "a")
    return folder


def context(folder: Path) -> FolderContext:
    return FolderContext("pictures", folder, folder)


def test_class_folders_that_are_links_are_scored_and_trained_on(classes: Path) -> None:
    assert [file.relative_to(classes).as_posix() for file in pictures_under(classes).files] == [
        "a/0.png",
        "a/1.png",
        "b/0.png",
        "b/1.png",
    ]
    assert open_samples(classes).count == 4
    assert context(classes).labels().tolist() == [0, 0, 1, 1]


def test_circles_of_links_end_and_links_to_what_is_there_do_not_count_twice(classes: Path) -> None:
    (classes / "b" / "up").symlink_to(classes)
    (classes / "c").symlink_to(classes / "b")
    found = pictures_under(classes)
    assert len(found.files) == 4
    assert found.twice == ("c", "b/up")
    assert any("links to folders that are counted anyway were left out: 2" in note for note in found.notes())


def test_a_link_that_leads_nowhere_is_named(classes: Path) -> None:
    (classes / "b" / "2.png").symlink_to(classes / "gone")
    with pytest.raises(ArbenchError, match=r"cannot read .*b/2\.png: it is a link that leads nowhere"):
        open_samples(classes)
    (classes / "b" / "2.png").unlink()
    (classes / "c").symlink_to(classes / "c")
    with pytest.raises(ArbenchError, match=r"cannot read .*data/c: it is a link that leads nowhere"):
        context(classes).labels()


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Takes the right to read a folder away, for root as well."""
    real = os.scandir

    def lock(folder: Path) -> None:
        def scandir(path: Any) -> Any:
            if Path(path) == folder:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return lock


def test_a_folder_that_may_not_be_read_is_refused_by_name(classes: Path, locked: Callable[[Path], None]) -> None:
    locked(classes / "b")
    for read in (open_samples, content_sha256, lambda folder: context(folder).labels()):
        with pytest.raises(ArbenchError, match="cannot read the folder .*/data/b: Permission denied"):
            read(classes)


def test_hidden_files_and_folders_are_left_out_and_told(classes: Path) -> None:
    before = content_sha256(classes)
    for name in (".ipynb_checkpoints/x.png", "b/._0.png", "__MACOSX/a/0.png", "b/.hidden/0.png"):
        picture(classes / name)
    (classes / "b" / "Thumbs.db").write_bytes(b"")
    samples = open_samples(classes)
    assert samples.count == 4
    assert content_sha256(classes) == before, "the hash is of what is read"
    (note,) = samples.notes()
    assert "hidden files and folders were left out: 5: .ipynb_checkpoints, __MACOSX, b/._0.png, ..." in note
    trained = context(classes)
    assert trained.labels().tolist() == [0, 0, 1, 1], "no hidden folder is class 0"
    assert any("hidden files and folders were left out: 5" in note for note in trained.notes())


def test_training_compares_class_folders_with_the_presets_classes(classes: Path) -> None:
    context(classes).must_have(2, "imagenet256-b")
    (classes / ".ipynb_checkpoints").mkdir()
    context(classes).must_have(2, "imagenet256-b")
    (classes / "old").mkdir()
    with pytest.raises(ArbenchError, match="holds 3 class folders, preset imagenet256-b has 2 classes"):
        context(classes).must_have(2, "imagenet256-b")
    picture(classes / "loose.png")
    notes = " ".join(context(classes).notes())
    assert "1 files beside the class folders have no class" in notes and "1 class folders hold no images (old)" in notes


@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        ("webp", "WEBP"),
        ("bmp", "BMP"),
        ("tif", "TIFF"),
        ("TIFF", "TIFF"),
        ("gif", "GIF"),
        ("jfif", "JPEG"),
        ("ppm", "PPM"),
    ],
)
def test_images_of_other_endings_count_beside_png(suffix: str, form: str, tmp_path: Path) -> None:
    picture(tmp_path / "class" / "0.png")
    Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "class" / f"1.{suffix}", form)
    assert sum(len(batch) for batch in open_samples(tmp_path).batches(5)) == 2
    assert context(tmp_path).labels().tolist() == [0, 0]


def test_files_that_are_no_images_are_told_once_with_their_number(tmp_path: Path) -> None:
    picture(tmp_path / "0.png")
    for number in range(20):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / "LICENSE").touch()
    (note,) = open_samples(tmp_path).notes()
    assert "21 files that are no images were left out (20 .txt, 1 without an ending)" in note


def test_an_ending_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    picture(tmp_path / "0.png")
    (tmp_path / "x.\x1b[31m").touch()
    assert "\x1b" not in " ".join(open_samples(tmp_path).notes())


def test_a_folder_of_shards_says_how_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "000.tar").touch()
    with pytest.raises(ArbenchError, match=r"holds no images .*it holds 1 other files \(1 .tar\); give those"):
        open_samples(tmp_path)
