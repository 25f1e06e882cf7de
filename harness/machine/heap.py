"""Keeps freed memory in the process.

With glibc's defaults, every large tensor gets newly mapped memory from the system. Training steps of this project
therefore spent up to half of their time in the kernel's page faults. A process with long computations calls
``keep_heap`` once.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_heap() -> None:
    """Serve large blocks from the heap, and never return the heap to the system. Does nothing without glibc."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 2**26)
