"""Which process this is, told apart from every other one before and after it on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def identity(pid: int | None = None) -> str | None:
    """`BOOT:PID:START` of a living process (this one by default), or None if there is no such process.

    A process id alone comes back after a while, and 1 comes back with every container. The start time does
    not change on exec, so a program that replaces itself in place stays the same one.
    """
    pid = os.getpid() if pid is None else pid
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # proc(5): the command name stands in parentheses and may hold parentheses itself, so count from the last.
    after = stat.rpartition(b")")[2].split()
    state, started = after[0], after[19]
    return None if state in (b"Z", b"X") else f"{boot}:{pid}:{started.decode()}"


def is_alive(who: str) -> bool:
    """Whether the process that `identity` named is still that process."""
    _, _, rest = who.partition(":")
    pid, _, _ = rest.partition(":")
    return pid.isdigit() and identity(int(pid)) == who
