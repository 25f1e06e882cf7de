"""Strips of images, made from the thumbnails of the store. A strip joins several images of a trial into one picture.

There is one strip per trial. Strips can be compared image by image: the first image of each strip has the same label
and was sampled from the same noise, and so on for the second image and all others. This requires that the trials have
the same data set, the same seed and the same rule for labels.

If there are few trials, strips keep every pixel. If there are thousands, strips hold fewer images and are compressed
until all strips fit into BUDGET, so that the site stays small enough to copy and to serve.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.errors import ArbenchError
from harness.images.datasets import known, reference_images
from reports.names import safe

Thumbnails = NDArray[np.uint8]

COLUMNS, ROWS = 10, 2
BUDGET = 4_000_000
"""The greatest number of bytes of all strips of a site together."""
MOST = 150_000
"""The greatest number of bytes of one strip."""
SIDE = 128
"""The greatest number of pixels per side; larger images are shrunk to this size."""
RUNGS: tuple[tuple[int, Mapping[str, Any]], ...] = (
    (20, {"lossless": True, "method": 2}),
    (20, {"quality": 85, "method": 0}),
    (10, {"quality": 80, "method": 0}),
    (10, {"quality": 55, "method": 0}),
    (5, {"quality": 40, "method": 0}),
    (2, {"quality": 25, "method": 0}),
    (1, {"quality": 25, "method": 0}),
)
"""(number of images, how they are saved as WebP), from the best strip to the smallest."""


def labels(data: str) -> tuple[str, ...]:
    """Names of the data set's classes, one for each column of a strip; () if there are not exactly COLUMNS names."""
    declared = known(data)
    names = declared.classes if declared else ()
    return names if len(names) == COLUMNS else ()


class Strips:
    """Writes strips of images into a folder. The strips of all trials together fit into BUDGET."""

    def __init__(self, folder: Path, trials: int) -> None:
        self._folder, self._most, self._rung = folder, min(MOST, BUDGET // max(trials, 1)), 0

    def write(self, name: str, thumbnails: NDArray[Any] | None, what: str) -> tuple[str, int]:
        """Write a strip. Returns the strip's file name and the number of images in the strip.

        thumbnails: uint8 [n, C, H, W], C = 1 or 3.
        what: how error messages name the thumbnails.

        Raises ArbenchError that says why there is no strip: there are no thumbnails, or the array does not hold
        thumbnails.
        """
        if thumbnails is None or not len(thumbnails):
            raise ArbenchError(f"{what}: the store has no thumbnails")
        if thumbnails.ndim != 4 or thumbnails.shape[1] not in (1, 3) or thumbnails.dtype != np.uint8:
            shape = f"{thumbnails.dtype} {thumbnails.shape}"
            raise ArbenchError(f"{what}: thumbnails {shape} (valid: uint8 [n, 1 or 3, H, W])")
        while True:  # a rung that was too large for one trial is not tried for later trials
            count, settings = RUNGS[self._rung]
            saved = io.BytesIO()
            Image.fromarray(strip(_small(thumbnails[:count]))).save(saved, "WEBP", **settings)
            if saved.tell() <= self._most or self._rung + 1 == len(RUNGS):
                break
            self._rung += 1
        (self._folder / f"{safe(name)}.webp").write_bytes(saved.getvalue())
        return f"{safe(name)}.webp", min(count, len(thumbnails))


def real(data: str) -> Thumbnails | None:
    """Real images [20, C, H, W] with the same labels as a strip; None if the data are not bundled."""
    declared = known(data)
    if declared is None or declared.reference is None or not labels(data):
        return None
    images, classes, _ = reference_images(data)
    chosen = [int((classes == label).nonzero()[row, 0]) for row in range(ROWS) for label in range(COLUMNS)]
    found: Thumbnails = images[chosen].numpy()
    return found


def strip(thumbnails: Thumbnails) -> Thumbnails:
    """Join thumbnails, uint8 [n, C, H, W], C = 1 or 3, into one RGB image, uint8 [height, width, 3].

    Each row has ``COLUMNS`` images, without gaps. The last row is filled up with grey.
    """
    count, channels, height, width = thumbnails.shape
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    canvas = np.full((rows * columns, height, width, 3), 128, np.uint8)
    canvas[:count] = np.broadcast_to(thumbnails.transpose(0, 2, 3, 1), (count, height, width, 3))
    lines = canvas.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(lines.reshape(rows * height, columns * width, 3))


def _small(thumbnails: Thumbnails) -> Thumbnails:
    """The thumbnails, shrunk so that no side is longer than SIDE."""
    longest = max(thumbnails.shape[2:])
    if longest <= SIDE:
        return thumbnails
    height, width = (max(1, side * SIDE // longest) for side in thumbnails.shape[2:])
    images = np.broadcast_to(thumbnails.transpose(0, 2, 3, 1), (len(thumbnails), *thumbnails.shape[2:], 3))
    sized = [np.asarray(Image.fromarray(np.ascontiguousarray(one)).resize((width, height))) for one in images]
    return np.stack(sized).transpose(0, 3, 1, 2)
