"""Points at which a test may stop or kill the supervisor: how the promises about crashes are proven at exact moments.

Off unless the environment names a file in `HITLESS_TEST_FAULT`, which only tests do. That file holds `ACTION POINT COUNT`: at
the COUNTth passing of POINT from then on the file is removed and the supervisor sends itself the signal of ACTION. The file may be
written again at any time. The points are the names of all events (`change.started`, `drain.ended`, …) and those of `POINTS`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "HITLESS_TEST_FAULT"

ACTIONS: Final[Mapping[str, signal.Signals]] = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

POINTS: Final = (
    "change.requested",  # before anything is written or built
    "listeners.opened",  # new sockets are bound, nothing is started
    "template.spawned",  # its process runs and knows nothing yet
    "template.loaded",  # the application is imported
    "worker.forked",  # once for every worker
    "workers.ready",  # all of the new generation
    "workers.probed",  # the health requests are answered
    "generation.serves",  # the new workers accept beside the old ones
    "generation.drains",  # the old workers are told to hand over
    "listeners.closed",  # those that are no longer named
    "live.prepared",  # in all workers
    "live.settled",  # in all workers; the next step is the swap
    "live.swapped",
    "change.recorded",  # in the journal
)

_file: Final = os.environ.get(VARIABLE)


def reach(point: str) -> None:
    """The supervisor is at `point`."""
    if _file is not None:
        _reach(Path(_file), point)


def _reach(file: Path, point: str) -> None:
    try:
        action, wanted, count = file.read_text().split()
    except (FileNotFoundError, ValueError):
        return
    if wanted != point:
        return
    if int(count) > 1:
        file.write_text(f"{action} {point} {int(count) - 1}")
        return
    file.unlink()
    os.kill(os.getpid(), ACTIONS[action])
