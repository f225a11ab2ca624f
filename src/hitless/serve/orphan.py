"""What becomes of a template or a worker when the supervisor dies, even if it cannot listen.

The end of file on its channel tells a process that the supervisor is gone, but only one that reads: not a template that hangs in an
import, nor a worker whose event loop is blocked by the application. For these the kernel itself reports the death
(prctl(2), PR_SET_PDEATHSIG):

* Whoever serves nobody yet is killed by it.
* A worker that serves is left to finish, and is killed some time after the drain should have ended.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

PR_SET_PDEATHSIG: Final = 1

ORPHANED: Final = signal.SIGRTMAX
"""What a serving worker gets at the supervisor's death: a signal that no application uses."""


def die_with(parent: int) -> None:
    """From now on the death of `parent`, which is this process's parent, kills it at once."""
    _on_parents_death(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it died before


def outlive(seconds: float) -> None:
    """From now on this process lives at most `seconds` longer than its parent, whatever it is doing then."""

    def arm(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    signal.signal(ORPHANED, arm)
    _on_parents_death(ORPHANED)


def _on_parents_death(number: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
