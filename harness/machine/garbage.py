"""Keeps the garbage collector out of where it only costs time."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """No garbage collection inside. Also for what makes many small objects that stay, such as thousands of records: the
    collector would go through all of them again and again, which took half of the time; and once more at the end, were
    they not put among those that have outlived a few collections."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()  # into the oldest generation
            gc.enable()
