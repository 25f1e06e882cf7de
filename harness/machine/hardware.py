"""What the machine is: its name, processor, cores, memory and system."""

import os
import platform
from pathlib import Path
from typing import Any

from harness.machine.cores import cores


def machine() -> dict[str, Any]:
    """The machine: host, processor, cores this process may use, memory in MB, system."""
    return {
        "host": platform.node(),
        "processor": _processor(),
        "cores": cores(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": platform.platform(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
