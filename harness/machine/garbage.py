"""Switches the garbage collector off where it only costs time."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Switch garbage collection off inside the ``with``.

    Two kinds of code use ``no_collection``: code that is being timed, and code that builds thousands of long-lived
    objects, such as records. On leaving, all objects are moved to the oldest generation, so that the next collection
    does not scan them once more.
    """
    # While records were built, the collector scanned them repeatedly, which took half of the time.
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
