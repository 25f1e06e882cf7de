"""Image files of every mode are read with the values that they mean, or refused by the name of the mode."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.errors import ArbenchError
from harness.images.pictures import centre_crop, decode_picture, eight_bits, read_image, read_picture
from harness.images.samples import open_samples

WEDGE = np.arange(256).reshape(16, 16)
"""Every grey level of 8 bits."""


def png(pixels: NDArray[np.uint16], kind: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write. pixels: [H, W, C]; kind: how PNG numbers the colours."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    high, wide = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", wide, high, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def read(content: bytes, mode: str = "RGB") -> NDArray[np.uint8]:
    return decode_picture(content, "it", mode).pixels()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_16_bit_grey_is_grey_when_scoring_and_when_training(form: str, tmp_path: Path) -> None:
    path = tmp_path / {"PNG": "a.png", "TIFF": "a.tif", "PPM": "a.pgm", "JPEG2000": "a.jp2"}[form]
    path.write_bytes(saved(Image.fromarray((WEDGE * 257).astype(np.uint16)), form))
    (scored,) = open_samples(tmp_path).batches(2)
    assert scored.shape == (1, 3, 16, 16)
    for channel in scored[0]:
        np.testing.assert_array_equal(channel.numpy(), WEDGE)
    np.testing.assert_array_equal(read_image(path, 16, 1)[0].numpy(), WEDGE)
    np.testing.assert_array_equal(read_image(path, 16, 3)[2].numpy(), WEDGE)


def test_16_bit_grey_and_16_bit_colour_of_the_same_values_are_the_same() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (16, 16), np.uint16)
    grey, colour = png(values[:, :, None], 0), png(np.stack([values] * 3, -1), 2)
    np.testing.assert_array_equal(read(grey), read(colour))
    np.testing.assert_array_equal(read(grey)[:, :, 0], values >> 8)
    np.testing.assert_array_equal(read(png(np.stack([values, values], -1), 4))[:, :, 1], values >> 8)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
def test_16_bits_in_any_byte_order(mode: str) -> None:
    order = ">u2" if mode.endswith("B") else "<u2"
    image = Image.frombytes(mode, (16, 16), (WEDGE * 257).astype(order).tobytes())
    np.testing.assert_array_equal(np.array(eight_bits(image, "L")), WEDGE)


RED, GREY = (200, 0, 0), (90, 90, 90)


@pytest.mark.parametrize(
    ("mode", "value", "meant"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 90, GREY),
        ("LA", (90, 255), GREY),
        ("La", (90, 255), GREY),
        ("RGB", RED, RED),
        ("RGBA", (*RED, 7), RED),
        ("RGBa", (100, 0, 0, 128), (199, 0, 0)),
        ("RGBX", (*RED, 7), RED),
        ("CMYK", (55, 255, 255, 0), RED),
        ("YCbCr", (90, 128, 128), GREY),
        ("HSV", (0, 255, 200), RED),
        ("I;16", 90 * 257, GREY),
    ],
)
def test_every_mode_has_the_colour_that_it_means(mode: str, value: object, meant: tuple[int, ...]) -> None:
    image = Image.new(mode, (4, 4), value)  # type: ignore[arg-type]
    assert eight_bits(image).getpixel((1, 2)) == meant
    assert eight_bits(image, "L").mode == "L"


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_palettes_mean_their_colours(mode: str) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([1, 2, 3, *RED])
    assert eight_bits(image.convert(mode)).getpixel((0, 0)) == RED
    transparent = saved(image, "PNG", transparency=1)
    found = decode_picture(transparent, "it")
    assert found.remarks == ("alpha",) and tuple(found.pixels()[0, 0]) == RED


@pytest.mark.parametrize(("mode", "words"), [("F", "floating point"), ("I", "32-bit"), ("LAB", r"CIE L\*a\*b\*")])
def test_modes_without_a_white_are_refused_by_name(mode: str, words: str) -> None:
    with pytest.raises(ArbenchError, match=f"its mode is {mode}: {words}"):
        eight_bits(Image.new(mode, (4, 4)))
    with pytest.raises(ArbenchError, match=f"cannot read it: its mode is {mode}"):
        read(saved(Image.new(mode, (4, 4)), "TIFF"))


def test_a_tiff_whose_white_is_zero_is_inverted_at_8_bits_and_refused_at_16() -> None:
    grey = Image.new("L", (4, 4), 90)
    assert read(saved(grey, "TIFF", tiffinfo={262: 0}))[0, 0, 0] in (90, 165)
    with pytest.raises(ArbenchError, match="photometric interpretation 0"):
        read(saved(Image.fromarray((WEDGE * 257).astype(np.uint16)), "TIFF", tiffinfo={262: 0}))


def test_cmyk_jpegs_of_adobe_are_not_inverted() -> None:
    found = read(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100))
    assert abs(found.astype(int) - (255, 0, 0)).max() <= 3


def test_transparency_and_exif_rotation_are_remarked_and_change_no_pixel() -> None:
    image = Image.new("RGBA", (4, 2), (*RED, 255))
    assert decode_picture(saved(image, "PNG"), "it").remarks == ()  # alpha that hides nothing
    image.putpixel((0, 0), (*RED, 0))
    for form in ("PNG", "WEBP", "TIFF"):
        found = decode_picture(
            saved(image, form, **({"lossless": True, "exact": True} if form == "WEBP" else {})), "it"
        )
        assert found.remarks == ("alpha",) and tuple(found.pixels()[0, 0]) == RED, form
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode_picture(saved(Image.new("RGB", (4, 2)), "JPEG", exif=exif), "it")
    assert turned.remarks == ("rotated",) and turned.pixels().shape == (2, 4, 3)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x" * 40])
def test_damaged_exif_is_no_reason_to_refuse_an_image(exif: bytes) -> None:
    found = decode_picture(saved(Image.new("RGB", (4, 2), RED), "PNG", exif=exif or b"Exif\0\0II*\0"), "it")
    assert found.remarks == () and tuple(found.pixels()[0, 0]) == RED
    jpeg = saved(Image.new("RGB", (4, 2)), "JPEG", exif=exif or b"Exif\0\0MM")
    assert decode_picture(jpeg, "it").remarks == ()


def test_colour_profiles_are_ignored_as_the_field_does() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    assert tuple(read(saved(Image.new("RGB", (4, 4), RED), "PNG", icc_profile=profile))[0, 0]) == RED


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_are_refused_and_single_frames_are_not(form: str) -> None:
    frames = [Image.new("RGB", (4, 4), (level, 0, 0)) for level in (0, 100, 200)]
    with pytest.raises(ArbenchError, match="it has 3 frames"):
        read(saved(frames[0], form, save_all=True, append_images=frames[1:]))
    assert read(saved(frames[0], form, save_all=True)).shape == (4, 4, 3)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000"])
def test_damaged_images_are_read_right_or_are_one_line(form: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8))
    whole = saved(image, form)
    path = tmp_path / "a.png"
    for kept in (0, 1, 10, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:kept])
        if form == "PNG" or kept < len(whole) // 2:
            with pytest.raises(ArbenchError, match=r"^cannot read .*a\.png: it [^\n]*$"):
                read_picture(path)
    for _ in range(40):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            damaged[at] ^= 1 << int(rng.integers(8))
        try:
            found = read(bytes(damaged))
        except ArbenchError as error:
            assert "\n" not in str(error)
        else:
            assert found.dtype == np.uint8
            assert form != "PNG" or (found == np.array(image)).all()


def test_what_pillow_finds_in_a_damaged_image_is_not_printed_beside_ours(capfd: pytest.CaptureFixture[str]) -> None:
    content = saved(Image.new("RGB", (4, 4)), "TIFF")
    samples = b"\x15\x01\x03\x00\x01\x00\x00\x00"  # the tag of samples a pixel: a short, one value
    assert content.count(samples) == 1
    with pytest.raises(ArbenchError, match="damaged"):
        read(content.replace(samples + b"\x03\x00", samples + b"\x00\x08"))
    assert capfd.readouterr().err == ""


def test_an_image_that_claims_to_be_huge_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for side in (12, 40):  # a warning of Pillow's, and an error
        with pytest.raises(ArbenchError, match="cannot read it: it claims to have over 100 pixels"):
            read(saved(Image.new("L", (side, side)), "PNG"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!doctype html><html>", "an HTML page"),
        (b"", "an empty file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", "a text file"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(content: bytes, words: str) -> None:
    with pytest.raises(ArbenchError, match=f"cannot read it: it is {words}.*, no image"):
        read(content)


def test_the_crop_is_guided_diffusions() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (150, 97, 3), np.uint8))
    scaled = image.resize((48, 75), Image.Resampling.BOX)  # its center_crop_arr, written out for side 32
    factor = 32 / 48
    scaled = scaled.resize((round(48 * factor), round(75 * factor)), Image.Resampling.BICUBIC)
    expected = np.array(scaled)[9:41, 0:32]
    np.testing.assert_array_equal(np.array(centre_crop(image, 32)), expected)


@pytest.mark.parametrize("mode", sorted({*Image.MODES, "La", "RGBa", "I;16", "I;16L", "I;16B", "I;16N"}))
def test_every_mode_that_pillow_has_is_right_or_refused_by_name(mode: str) -> None:
    """An image of one colour in each mode that this Pillow has: one colour of 8 bits, or a line that names the mode."""
    try:
        found = np.asarray(eight_bits(Image.new(mode, (4, 4))))
    except ArbenchError as error:
        assert str(error).startswith(f"its mode is {mode}: ")
    else:
        assert found.dtype == np.uint8 and found.shape == (4, 4, 3)
        assert len(np.unique(found.reshape(-1, 3), axis=0)) == 1


def test_a_mode_that_nobody_knows_is_refused_by_name() -> None:
    class Odd:
        mode, format = "XYZ", "PNG"

    with pytest.raises(ArbenchError, match="its mode is XYZ: which is not known .valid: "):
        eight_bits(Odd())  # type: ignore[arg-type]
