"""Sets of images in shards, archives and parts: in order, counted together, cropped, cut, and told where they lack."""

import io
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.errors import ArbenchError
from harness.images.pictures import centre_crop
from harness.images.reading import Reading, Samples
from harness.images.samples import open_samples

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)


def encoded(image: NDArray[np.uint8], form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **({"lossless": True} if form == "WEBP" else {}))
    return file.getvalue()


def tarred(path: Path, members: dict[str, bytes], **options: Any) -> Path:
    with tarfile.open(path, "w", **options) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def shard(path: Path, start: int, stop: int) -> Path:
    """A WebDataset shard of some of IMAGES, each with its class."""
    members = {}
    for number in range(start, stop):
        members[f"{number:05d}.png"] = encoded(IMAGES[number])
        members[f"{number:05d}.cls"] = b"7"
    return tarred(path, members)


def whole(samples: Samples, size: int = 5) -> NDArray[np.uint8]:
    batches = [batch.numpy() for batch in samples.batches(size)]
    assert all(len(batch) <= size for batch in batches)
    found = np.concatenate(batches).transpose(0, 2, 3, 1)
    assert len(found) == samples.count
    return found


def test_shards_files_and_folders_count_together_in_the_order_given(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", arr_0=IMAGES[:4])
    np.save(tmp_path / "b.npy", IMAGES[4:6])
    (tmp_path / "c").mkdir()
    for number in (6, 7):
        Image.fromarray(IMAGES[number]).save(tmp_path / "c" / f"{number}.png")
    shard(tmp_path / "d.tar", 8, 12)
    names = ("a.npz", "b.npy", "c", "d.tar")
    found = open_samples([tmp_path / name for name in names])
    assert found.count == 12
    np.testing.assert_array_equal(whole(found), IMAGES)
    turned = open_samples([tmp_path / name for name in reversed(names)])
    np.testing.assert_array_equal(whole(turned)[:4], IMAGES[8:])


def test_a_webdataset_is_read_in_its_own_order_and_left_packed(tmp_path: Path) -> None:
    path = tarred(
        tmp_path / "x.tar",
        {
            "z/1.webp": encoded(IMAGES[0], "WEBP"),
            "z/1.json": b"{}",
            "../../../a.png": encoded(IMAGES[1]),
            "/etc/b.png": encoded(IMAGES[2]),
            "a/\x1b[2Jc.png": encoded(IMAGES[3]),
            "._d.png": b"",
            "__MACOSX/e.png": b"",
        },
    )
    before = sorted(tmp_path.rglob("*"))
    found = open_samples(path)
    np.testing.assert_array_equal(whole(found), IMAGES[:4])
    assert sorted(tmp_path.rglob("*")) == before
    notes = " ".join(found.notes())
    assert "hidden files and folders were left out: 2" in notes and "(1 .json)" in notes


def test_a_fault_in_an_archive_names_the_member_harmlessly(tmp_path: Path) -> None:
    path = tarred(tmp_path / "x.tar", {"a.png": encoded(IMAGES[0]), "\x1b[2Jb.png": b"no image"})
    with pytest.raises(ArbenchError, match="cannot read .*x.tar: .*b.png: it is a text file, no image") as caught:
        whole(open_samples(path))
    assert "\x1b" not in str(caught.value)


def test_samples_with_two_images_ask_which_is_meant(tmp_path: Path) -> None:
    members = {}
    for number in range(3):
        members[f"{number}.png"] = encoded(IMAGES[number])
        members[f"{number}.seg.png"] = encoded(IMAGES[number + 3])
    path = tarred(tmp_path / "x.tar", members)
    with pytest.raises(ArbenchError, match=r"0\.seg\.png is one of several images of a sample \(--key"):
        open_samples(path)
    np.testing.assert_array_equal(whole(open_samples(path, Reading(key="seg.png"))), IMAGES[3:6])
    dotted = tarred(tmp_path / "y.tar", {f"cfg_1.5_{number}.png": encoded(IMAGES[number]) for number in range(3)})
    np.testing.assert_array_equal(whole(open_samples(dotted)), IMAGES[:3])


def test_damaged_archives_are_one_line_and_never_a_part(tmp_path: Path) -> None:
    whole_tar = shard(tmp_path / "whole.tar", 0, 6).read_bytes()
    path = tmp_path / "x.tar"
    rng = np.random.default_rng(0)
    places = [*rng.integers(1, len(whole_tar) - 1, 30), 512, 1024, 2048]
    for cut in places:  # at whatever byte, and between members
        path.write_bytes(whole_tar[: int(cut)])
        try:
            found = whole(open_samples(path))
        except ArbenchError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert len(found) == 6
    for _ in range(60):
        content = bytearray(whole_tar)
        content[int(rng.integers(len(whole_tar)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            found = whole(open_samples(path))
        except ArbenchError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            np.testing.assert_array_equal(found, IMAGES[:6])
    path.write_bytes(whole_tar + whole_tar)
    with pytest.raises(ArbenchError, match="goes on after its end"):
        open_samples(path)


def test_links_in_an_archive_are_no_images(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(ArbenchError, match=r"a\.png is a link"):
        open_samples(tmp_path / "x.tar")


@pytest.mark.parametrize("count", [1, 5, 7, 12])
def test_the_first_images_are_read_and_no_others(count: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", arr_0=IMAGES[:6])
    shard(tmp_path / "b.tar", 6, 12)
    paths = [tmp_path / "a.npz", tmp_path / "b.tar"]
    np.testing.assert_array_equal(whole(open_samples(paths, Reading(images=count))), IMAGES[:count])
    if count < 6:
        np.testing.assert_array_equal(whole(open_samples(paths[0], Reading(images=count))), IMAGES[:count])


def test_fewer_images_than_asked_for_are_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", arr_0=IMAGES)
    with pytest.raises(ArbenchError, match=r"a.npz holds 12 images, 13 were asked for \(--images\)"):
        open_samples(tmp_path / "a.npz", Reading(images=13))


def test_every_kind_is_cropped_as_guided_diffusion_does(tmp_path: Path) -> None:
    large = np.random.default_rng(1).integers(0, 256, (3, 30, 21, 3), np.uint8)
    expected = np.stack([np.array(centre_crop(Image.fromarray(one), 8)) for one in large])
    np.savez(tmp_path / "a.npz", arr_0=large)
    tarred(tmp_path / "b.tar", {f"{number}.png": encoded(one) for number, one in enumerate(large)})
    (tmp_path / "c").mkdir()
    for number, one in enumerate(large):
        Image.fromarray(one).save(tmp_path / "c" / f"{number}.png")
    for name in ("a.npz", "b.tar", "c"):
        np.testing.assert_array_equal(whole(open_samples(tmp_path / name, Reading(resize=8))), expected)
    Image.fromarray(large[0, :25]).save(tmp_path / "c" / "3.png")  # of another size: no matter once it is cropped
    assert whole(open_samples(tmp_path / "c", Reading(resize=8))).shape == (4, 8, 8, 3)
    np.savez(tmp_path / "grey.npz", arr_0=large[..., :1])
    assert whole(open_samples(tmp_path / "grey.npz", Reading(resize=8))).shape == (3, 8, 8, 1)


def test_parts_of_unequal_sizes_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", arr_0=IMAGES)
    np.savez(tmp_path / "b.npz", arr_0=IMAGES[:, :4])
    with pytest.raises(ArbenchError, match=r"the images of .*b.npz are \(4, 8\), those of .*a.npz \(8, 8\)"):
        whole(open_samples([tmp_path / "a.npz", tmp_path / "b.npz"]))


def test_transparent_images_are_counted(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGBA", (4, 4), (number, 0, 0, 255 - 100 * (number > 0))).save(tmp_path / f"{number}.png")
    found = open_samples(tmp_path)
    assert whole(found)[:, 0, 0, 0].tolist() == [0, 1, 2]
    (note,) = found.notes()
    assert note.startswith("2 of 3 images have transparent pixels: alpha was dropped")


@pytest.mark.parametrize("kind", ["npy", "tar", "folder"])
def test_every_kind_is_streamed(kind: str, tmp_path: Path) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    path = tmp_path / "x"
    if kind == "npy":
        np.save(path := tmp_path / "x.npy", np.broadcast_to(image, (400, 64, 64, 3)))
    elif kind == "tar":
        tarred(path, {f"{number}.png": encoded(image) for number in range(400)})
    else:
        path.mkdir()
        for number in range(400):
            (path / f"{number}.png").write_bytes(encoded(image))
    tracemalloc.start()
    assert sum(len(batch) for batch in open_samples(path).batches(20)) == 400
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 20 * image.nbytes < 400 * image.nbytes
