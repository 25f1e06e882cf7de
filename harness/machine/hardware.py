"""What the machine is: its name, processor, cores, memory and system."""

import os
import platform
from pathlib import Path
from typing import Any

from harness.machine.cores import cores
from harness.machine.system_files import text


def machine() -> dict[str, Any]:
    """The machine: host, processor, cores this process may use, memory in MB, system."""
    return {
        "host": platform.node(),
        "processor": _processor(),
        "cores": cores(),
        "memory_mb": physical_memory() // 2**20,
        "system": platform.platform(),
    }


def physical_memory() -> int:
    """Bytes of memory that the machine has, whatever this process may use of it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _processor() -> str:
    for line in (text(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
