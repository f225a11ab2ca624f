"""Reaps every child of the supervisor: templates, workers, and orphans of the application that became its children.

As the subreaper of its descendants the supervisor inherits whatever the application leaves behind, so it waits for any
child, and tells whoever asked about a pid. A status that arrives before anybody asked (a worker that died before its pid was
known) is kept until somebody does.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PR_SET_CHILD_SUBREAPER: Final = 36
_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended."""

    code: int | None
    signal: int | None

    @classmethod
    def of(cls, status: int) -> Exit:
        code = os.waitstatus_to_exitcode(status)
        return cls(None, -code) if code < 0 else cls(code, None)

    @property
    def is_clean(self) -> bool:
        return self.code == 0

    def __str__(self) -> str:
        if self.code is None and self.signal is None:
            return "was never forked"
        if self.signal is None:
            return f"exited with {self.code}"
        name = signal.Signals(self.signal).name if self.signal in set(signal.Signals) else str(self.signal)
        hint = " (out of memory?)" if self.signal == signal.SIGKILL else ""
        return f"was killed by {name}{hint}"


def become_subreaper() -> None:
    """Orphaned descendants become children of this process (Linux ≥ 3.4)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


class Reaper:
    """Tells each `watch`er once how its process ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watchers: dict[int, Callable[[Exit], None]] = {}
        self._unclaimed: OrderedDict[int, Exit] = OrderedDict()
        loop.add_signal_handler(signal.SIGCHLD, self.reap)

    def watch(self, pid: int, on_exit: Callable[[Exit], None]) -> None:
        ended = self._unclaimed.pop(pid, None)
        if ended is not None and not _is_child(pid):  # else another process had this pid before
            on_exit(ended)
        else:
            self._watchers[pid] = on_exit

    def reap(self) -> None:
        """Collects whoever has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = Exit.of(status)
            on_exit = self._watchers.pop(pid, None)
            if on_exit is not None:
                on_exit(ended)
                continue
            self._unclaimed[pid] = ended
            while len(self._unclaimed) > _KEPT:
                self._unclaimed.popitem(last=False)
