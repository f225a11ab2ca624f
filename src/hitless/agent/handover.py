"""When an agent's process is replaced by another one on the same machine, the new one goes on at the old one's due times.

Whoever polls holds a lock. Who leaves off writes when each source is due next and gives the lock back; who was waiting for it reads
that. A process that is killed gives the lock back as well, with nothing written: then new due times begin.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from hitless.change.threads import in_thread

FRESH_S: Final = 60.0
"""Due times that were left longer ago than this are those of a service that had been stopped."""


class Handover:
    """Of one process. All processes of the agent use the same folder."""

    def __init__(self, folder: Path) -> None:
        self._lock_path: Final = folder / "polling.lock"
        self._due_path: Final = folder / "polling.json"
        self._lock: int | None = None

    async def take(self) -> dict[str, float]:
        """Wait until nobody else polls; the monotonic times at which its sources are due next, if it has said them.

        Raises:
            OSError: the folder cannot be used.
        """
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await in_thread(
                lambda: fcntl.flock(fd, fcntl.LOCK_EX),
                "wait for the agent before",
                late=lambda _: os.close(fd),
            )
        except asyncio.CancelledError:
            raise  # the thread closes it when it has got it
        except OSError:
            os.close(fd)
            raise
        self._lock = fd
        return self._left()

    def give(self, due: Mapping[str, float]) -> None:
        """Nothing is begun here any more. Raises OSError: it was not said."""
        fd, self._lock = self._lock, None
        if fd is None:
            return
        try:
            new = self._due_path.with_suffix(".new")
            new.write_text(json.dumps({"at": time.monotonic(), "boot": _boot_id(), "due": dict(due)}))
            new.replace(self._due_path)
        finally:
            os.close(fd)

    def _left(self) -> dict[str, float]:
        """Read once: what is found by the next process must have been said by this one."""
        try:
            said = json.loads(self._due_path.read_text())
            age_s = time.monotonic() - float(said["at"])
            due = {str(name): float(at) for name, at in said["due"].items()}
            is_ours = said["boot"] == _boot_id() and 0 <= age_s < FRESH_S
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        with suppress(FileNotFoundError):
            self._due_path.unlink()
        return due if is_ours else {}


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
