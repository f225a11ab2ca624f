"""Who has the name: a lock beside the control socket, held for as long as the service lives.

Connecting alone cannot decide it: a service that hangs does not answer, and one that is just starting does
not listen yet. The kernel drops the lock with the process, however it ends, so a stale one cannot be.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from hitless.control.errors import ServiceRunning, UnusablePath


class ServiceLock:
    """An exclusive lock (flock) on `NAME.lock`, which also holds the process id, for the message.

    The file stays when the lock is given up: removing it would let two processes lock two files of one name.

    Raises:
        ServiceRunning: a living process has it.
        UnusablePath: the file cannot be opened.
    """

    def __init__(self, socket_path: Path, descriptor: int | None = None) -> None:
        self.path: Final = socket_path.with_suffix(".lock")
        self.descriptor: Final = _opened(self.path) if descriptor is None else descriptor
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _written_pid(self.descriptor)
            os.close(self.descriptor)
            raise ServiceRunning(socket_path, pid) from None
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{os.getpid()}\n".encode(), 0)

    @property
    def is_in_place(self) -> bool:
        """Whether the file still has its name; somebody else could lock another one else."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self.descriptor))
        except OSError:
            return False

    def release(self) -> None:
        os.close(self.descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UnusablePath(f"the lock {path} cannot be opened: {error.strerror}") from error


def _written_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None
