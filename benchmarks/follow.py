"""How long a reload takes, as clients on fresh connections see it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from benchmarks.server import Server

POLL_S = 0.02
QUIET_S = 3.0
"""The old code has gone when it has not answered for this long."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One reload. Seconds since the request for it; None if it did not happen before the deadline."""

    first_new_s: float | None
    """The new code answered for the first time."""
    last_old_s: float
    """The old code answered for the last time."""
    unanswered: int
    """Fresh connections that got no answer meanwhile."""


async def follow(server: Server, version: str, *, deadline_s: float = 30.0) -> Turn:
    """Look at which version answers until only `version` does, or the deadline passes."""
    began = time.monotonic()
    first_new: float | None = None
    last_old, unanswered = 0.0, 0
    while (now := time.monotonic() - began) < deadline_s:
        seen = await server.version()
        if seen is None:
            unanswered += 1
        elif seen == version:
            first_new = first_new if first_new is not None else time.monotonic() - began
        else:
            last_old = time.monotonic() - began
        if first_new is not None and now - max(first_new, last_old) > QUIET_S:
            break
        await asyncio.sleep(POLL_S)
    return Turn(first_new, last_old, unanswered)
