"""Image grids from the thumbnails of the store: one strip a setting, the same labels and the same noise in all."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data import CLASSES, reference_images
from harness.errors import ArbenchError
from harness.store import Record, Store
from reports.names import safe

Thumbnails = NDArray[np.uint8]

COLUMNS, ROWS = 10, 2
GAP = 2  # pixels between images, transparent: they look right on a light and on a dark page


def labels(preset: str) -> tuple[str, ...]:
    """The class names over the columns: those of the preset's data; none where they are unknown or not COLUMNS many."""
    names = CLASSES.get(preset, ())
    return names if len(names) == COLUMNS else ()


def of_record(store: Store, record: Record, folder: Path) -> str:
    """Write the strip of a trial, images 0 to COLUMNS x ROWS - 1; returns its file name.

    Raises ArbenchError saying why there is none: no thumbnails, or a damaged file.
    """
    thumbnails = store.arrays(record).get("thumbnails")
    if thumbnails is None or not len(thumbnails):
        raise ArbenchError(f"{record['name']}: the store has no thumbnails")
    return _write(thumbnails, folder / f"{safe(str(record['key']))}.png", str(record["name"]))


def real(preset: str, folder: Path) -> str | None:
    """Write a strip of real images, labels as in every other; None where the preset's data do not ship with us."""
    if not labels(preset):
        return None
    images, classes, _ = reference_images(preset)
    chosen = [int((classes == label).nonzero()[row, 0]) for row in range(ROWS) for label in range(COLUMNS)]
    return _write(images[chosen].numpy(), folder / "real.png", "real images")


def strip(thumbnails: Thumbnails) -> Thumbnails:
    """uint8 [n, C, H, W], C = 1 or 3 -> uint8 RGBA [height, width, 4]: COLUMNS a row, gaps transparent. Pixel for
    pixel: the page enlarges them."""
    count, channels, height, width = thumbnails.shape
    rows = -(-min(count, COLUMNS * ROWS) // COLUMNS)
    canvas = np.zeros((rows * (height + GAP) - GAP, COLUMNS * (width + GAP) - GAP, 4), np.uint8)
    for index, image in enumerate(thumbnails[: COLUMNS * ROWS]):
        down, across = (index // COLUMNS) * (height + GAP), (index % COLUMNS) * (width + GAP)
        place = canvas[down : down + height, across : across + width]
        place[..., :3] = np.broadcast_to(image.transpose(1, 2, 0), (height, width, 3))
        place[..., 3] = 255
    return canvas


def _write(thumbnails: NDArray[Any], path: Path, name: str) -> str:
    if thumbnails.ndim != 4 or thumbnails.shape[1] not in (1, 3) or thumbnails.dtype != np.uint8:
        raise ArbenchError(f"{name}: thumbnails {thumbnails.dtype} {thumbnails.shape} (valid: uint8 [n, 1 or 3, H, W])")
    Image.fromarray(strip(thumbnails), "RGBA").save(path)
    return path.name
