"""How often the kernel has killed a process for want of memory. Podman on cgroups v1 does not record it per container."""

from __future__ import annotations

from pathlib import Path
from typing import Final

VMSTAT: Final = Path("/proc/vmstat")


def oom_kills() -> int:
    """Since the machine started; 0 where the kernel does not count."""
    try:
        lines = VMSTAT.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
