"""A member's line to the place where its group meets: blocking questions, asked one at a time, each with a deadline."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from hitless.agent.group.coordinator import Coordinator, Unreachable
from hitless.change import Deadline, DeadlinePassed
from hitless.change.threads import in_thread

T = TypeVar("T")

CALLS: Final = 3
"""Questions that one call may ask."""


class Line:
    """Owned by one event loop."""

    def __init__(self, coordinator: Coordinator, timeout_s: float) -> None:
        self.coordinator: Final = coordinator
        self._timeout_s: Final = timeout_s
        self._one_call: Final = asyncio.Lock()
        self._calling: Final = threading.Lock()

    async def call(self, ask: Callable[[Coordinator], T]) -> T:
        """What `ask` returns, which runs in a thread. Raises Unreachable, and what `ask` raises."""
        async with self._one_call:
            deadline = Deadline.after(CALLS * self._timeout_s)
            try:
                return await deadline.wait(
                    in_thread(lambda: self._alone(ask), "group"), "the group's store did not answer"
                )
            except DeadlinePassed as error:
                raise Unreachable(str(error)) from error

    def _alone(self, ask: Callable[[Coordinator], T]) -> T:
        """A call that was given up may still be waiting: no other one is made beside it."""
        if not self._calling.acquire(timeout=self._timeout_s):
            raise Unreachable("the group's store has not answered the question before")
        try:
            return ask(self.coordinator)
        finally:
            self._calling.release()
