"""What Python does at its end, done by a worker that leaves: `atexit` handlers run, and processes that the application has started
by `multiprocessing` end with it.

A worker leaves by `os._exit`, so that threads of the application cannot keep it alive, and so Python's own end does not come.
Without this every reload would leave a pool of processes behind for good, and lose what buffers (of logs, traces, metrics) flush in
their handlers.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Final

LONGEST_S: Final = 3.0
"""What handlers and jobs that still run in a pool may take together; then they are left to themselves."""


def end() -> None:
    """Ends as Python would; ends this process, if that takes too long."""
    threading.Thread(target=_leave, daemon=True).start()
    pools = sys.modules.get("concurrent.futures.process")
    with suppress(Exception):
        if pools is not None:
            pools._python_exit()
    # Python's own, though not public: errors are printed, and multiprocessing's handler is one of them.
    atexit._run_exitfuncs()


def _leave() -> None:
    time.sleep(LONGEST_S)
    os._exit(0)
