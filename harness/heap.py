"""Keeps freed memory in the process, and the garbage collector out of where it only costs time.

With glibc's defaults every large tensor is a fresh mapping, and a training step here spent up to half of its time in
the kernel's page faults. ``keep_heap`` is called once by whatever computes for long.
"""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_heap() -> None:
    """Serve large blocks from the heap and never give it back. Does nothing where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 2**26)


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
