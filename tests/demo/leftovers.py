"""What a demonstration has left behind."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def left_behind(folder: Path) -> list[psutil.Process]:
    """Processes whose commands name the folder, or that work in it. Servers of other tests may run beside them."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            if str(folder) in " ".join(process.cmdline()) or process.cwd().startswith(str(folder)):
                found.append(process)
    return found
