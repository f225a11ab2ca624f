"""Ports of servers that are stopped and started again: nobody else takes them in between."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from random import SystemRandom

RANGE = range(12000, 20000)
"""From these the kernel takes none for outgoing connections."""


def free_port() -> int:
    """A port of the loopback that no server has, and that no other session of tests is given while this one runs."""
    folder = Path(tempfile.gettempdir()) / f"hitless-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        port = SystemRandom().choice(RANGE)
        lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
            continue
        return port  # the lock is held as long as this process lives
