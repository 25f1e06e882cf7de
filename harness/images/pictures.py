"""Reads one image file as 8 bits per channel. Scoring and training both use this module.

Images are converted by Pillow's ``convert("RGB")``, as in guided-diffusion's evaluator, torch-fidelity and clean-fid.
Colour profiles are ignored, and so is the rotation that EXIF asks for. An alpha channel is dropped. CMYK becomes RGB by
the plain formula. If a channel has 16 bits, the upper 8 are taken; for colour images, Pillow itself does this.

Pillow's name for the pixel format of an image is the image's mode. An image is refused if these rules do not cover the
image's mode. The error names the mode.
"""

import io
import logging
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from harness.errors import ArbenchError
from harness.file_kinds import READ, kind_of

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Pillow prints errors of its own on a damaged TIFF


FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
"""The formats that are read, as Pillow names them. Other formats could start a program (EPS) or are no pictures."""
SUFFIXES = frozenset((
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".ppm", ".pgm",
    ".pbm", ".pnm", ".jp2", ".j2k", ".avif",
))  # fmt: skip
"""Endings of the names of image files."""
DIRECT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
"""Modes that Pillow's ``convert`` turns into RGB or grey without a step before."""
PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}
"""A dict from each mode whose colours are multiplied by alpha to the mode with the plain colours."""
REFUSED = {
    "F": "floating point, whose white is not defined",
    "I": "32-bit integers, whose white is not defined",
    "LAB": "CIE L*a*b*",
}
"""A dict from each mode that is refused to its description in words. These modes are refused because programs read them
differently."""
ORIENTATION = 0x0112
"""Number of the orientation tag in EXIF."""
ALPHA, ROTATED = "alpha", "rotated"
REMARKS = {
    ALPHA: "have transparent pixels: alpha was dropped, the colours below it count, as in guided-diffusion, "
    "torch-fidelity and clean-fid",
    ROTATED: "carry an EXIF rotation, which is ignored, as in guided-diffusion, torch-fidelity and clean-fid",
}
"""A dict from each remark on an image to its text in a message, which follows "12 of 50 images"."""


@dataclass(frozen=True)
class Picture:
    """An image that was read."""

    image: Image.Image  # of mode RGB or L
    remarks: tuple[str, ...] = ()  # keys of REMARKS

    def cropped(self, side: int) -> "Picture":
        """The same picture after ``centre_crop``."""
        return Picture(centre_crop(self.image, side), self.remarks)

    def pixels(self) -> NDArray[np.uint8]:
        """The pixels, uint8 [H, W, 1 or 3]."""
        array = np.array(self.image)
        return array if array.ndim == 3 else array[:, :, None]


def read_picture(file: Path, mode: str = "RGB") -> Picture:
    """The image in a file. mode: RGB, or L for grey.

    Raises ArbenchError if the file is no image, is damaged, is an animation, has more pixels than Pillow accepts, or
    has a mode in REFUSED.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ArbenchError(f"cannot read {file}: {error.strerror or error}") from error
    return decode_picture(content, str(file), mode)


def decode_picture(content: bytes, name: str, mode: str = "RGB") -> Picture:
    """Like ``read_picture``, for the bytes of a file. name: the file's name in errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of oddities, such as EXIF data cut short
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decoded(content, mode)
    except ArbenchError as error:
        raise ArbenchError(f"cannot read {name}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = Image.MAX_IMAGE_PIXELS or 0
        raise ArbenchError(f"cannot read {name}: it claims to have over {most:,} pixels") from error
    except UnidentifiedImageError as error:
        kind = kind_of(content[:READ], len(content))
        what = (
            f"{kind} that is damaged, or of a kind that is not read" if kind.endswith("image") else f"{kind}, no image"
        )
        raise ArbenchError(f"cannot read {name}: it is {what}") from error
    except Exception as error:  # a damaged image raises any of a dozen kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArbenchError(f"cannot read {name}: it is damaged or cut short ({reason})") from error


def _decoded(content: bytes, mode: str) -> Picture:
    with _opened(content) as image:
        if image.format == "PNG":
            image.verify()  # compares checksums, as loading does not; the image cannot be used afterwards
    with _opened(content) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # MPO: a photo with its preview
            raise ArbenchError(f"it has {frames} frames (valid: one image a file)")
        image.load()
        remarks = []
        if _transparent(image):
            remarks.append(ALPHA)
        if _rotated(image):
            remarks.append(ROTATED)
        return Picture(eight_bits(image, mode), tuple(remarks))


def _opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=_formats())


@cache
def _formats() -> tuple[str, ...]:
    """The formats of FORMATS that the installed Pillow can open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _rotated(image: Image.Image) -> bool:
    """Whether EXIF asks for a rotation. A TIFF's own orientation tag does not count, because Pillow applies it."""
    if "exif" not in image.info or image.format == "TIFF":
        return False
    try:
        return image.getexif().get(ORIENTATION, 1) not in (0, 1)
    except Exception:  # damaged EXIF raises any of half a dozen kinds; the pixels are intact
        return False


def _transparent(image: Image.Image) -> bool:
    """Whether some pixel is not opaque."""
    if image.mode.startswith("I"):
        return "transparency" in image.info
    if image.mode not in ("LA", "PA", "RGBA", *PREMULTIPLIED) and "transparency" not in image.info:
        return False
    lowest, _ = image.convert(PREMULTIPLIED.get(image.mode, "RGBA")).getchannel("A").getextrema()
    return bool(lowest < 255)  # type: ignore[operator]  # Pillow's stub allows pairs of pairs too


def eight_bits(image: Image.Image, mode: str = "RGB") -> Image.Image:
    """An image of any mode, converted to RGB or L. If the image's mode is in REFUSED or unknown, raises ArbenchError
    naming the mode."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        _must_be_16_bits(image)
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in PREMULTIPLIED:
        image = image.convert(PREMULTIPLIED[image.mode])
    if image.mode not in DIRECT:
        words = REFUSED.get(image.mode, "which is not known")
        raise ArbenchError(f"its mode is {image.mode}: {words} (valid: 8 or 16 bits of grey, RGB, CMYK or a palette)")
    return image if image.mode == mode else image.convert(mode)


def _must_be_16_bits(image: Image.Image) -> None:
    """Raises ArbenchError for a TIFF whose grey values do not run from 0 (black) to 65535 (white).

    A TIFF is refused if its pixels do not have 16 bits each, or if its value 0 means white.
    """
    tags = getattr(image, "tag_v2", {})
    if tags and (tuple(tags.get(258, (16,))) != (16,) or tags.get(262) == 0):
        raise ArbenchError(
            f"its mode is {image.mode} with {tags.get(258)} bits, photometric interpretation {tags.get(262)} "
            "(valid: 16 bits, 0 is black)"
        )


def centre_crop(image: Image.Image, side: int) -> Image.Image:
    """The square in the middle of an image, as guided-diffusion crops images.

    The image is halved while its shorter edge is at least twice ``side``. Bicubic scaling then brings the shorter edge
    to ``side``, and the middle square is cut out.
    """
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    factor = side / min(image.size)
    wide, high = max(side, round(image.width * factor)), max(side, round(image.height * factor))
    image = image.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = (wide - side) // 2, (high - side) // 2
    return image.crop((left, top, left + side, top + side))


def read_image(path: Path, side: int, channels: int) -> Tensor:
    """The image in a file after ``centre_crop``: uint8 [channels, side, side], with 1 or 3 channels."""
    pixels = read_picture(path, "RGB" if channels == 3 else "L").cropped(side).pixels()
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
