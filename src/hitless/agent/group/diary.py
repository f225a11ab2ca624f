"""What a member has done, as lines of JSON that survive its death: when it promised what, and what it polls by since when."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Final

from hitless.agent.group.member import Member
from hitless.agent.group.record import Assignment
from hitless.change import JSON

log = logging.getLogger(__name__)

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

    def note_assignment(self, me: Member, before: Assignment | None, now: Assignment | None) -> None:
        """Who shares the work by what, if that is new."""
        if now is None or now == before:
            return
        self.note(
            "assignment",
            number=now.number,
            boundary=now.at,
            epoch=now.epoch,
            config=now.config,
            members=[each.id for each in now.members],
            mine=me in now.members,
        )
        names = ", ".join(each.name for each in now.members)
        log.info("assignment %d by epoch %d: %s", now.number, now.epoch, names)
