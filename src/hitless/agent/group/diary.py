"""What a member has done, as lines of JSON that survive its death: when it promised what, and what it polls by since when."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Final

from hitless.change import JSON

SIZE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes; then the file is put aside as `.1`."""


class Diary:
    def __init__(self, path: Path | None) -> None:
        """None: nothing is kept."""
        self._path: Final = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    def note(self, what: str, **more: JSON) -> None:
        """One line, written at once."""
        if self._path is None:
            return
        line = json.dumps({"at": round(time.time(), 3), "what": what, **more}) + "\n"
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, line.encode())
            is_full = os.fstat(fd).st_size > SIZE_LIMIT
        finally:
            os.close(fd)
        if is_full:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
