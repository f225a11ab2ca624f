"""The processes that the application has started in a worker by `multiprocessing`: they end with it.

A worker leaves by `os._exit`, so that threads of the application cannot keep it alive, and so Python's own end does not come,
which would tell pools of processes to end, and end daemonic ones. Without it every reload would leave a pool behind for good.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from typing import Final

LONGEST_S: Final = 3.0
"""What a job that still runs in a pool may take; it is left to itself then."""


def end() -> None:
    """Ends them as Python would; ends this process, if that takes too long."""
    if "multiprocessing.util" not in sys.modules:
        return
    threading.Thread(target=_leave, daemon=True).start()
    pools = sys.modules.get("concurrent.futures.process")
    with suppress(Exception):
        if pools is not None:
            pools._python_exit()
    with suppress(Exception):
        sys.modules["multiprocessing.util"]._exit_function()


def _leave() -> None:
    time.sleep(LONGEST_S)
    os._exit(0)
