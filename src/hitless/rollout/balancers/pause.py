"""Between two looks at a balancer, which tells nobody when something has changed."""

from __future__ import annotations

import asyncio

from hitless.change import Deadline, DeadlinePassed


async def pause(deadline: Deadline, seconds: float, what: str) -> None:
    """Wait so long.

    Raises:
        DeadlinePassed: there is no time left; `what` says what did not happen.
    """
    if deadline.expired:
        raise DeadlinePassed(what, deadline.seconds)
    await asyncio.sleep(min(seconds, deadline.remaining()))
