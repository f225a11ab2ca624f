"""Writes the journal for the event loop: in a thread of its own, because a disk that hangs must not hang
the service.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from hitless.change.deadline import Deadline, DeadlinePassed
from hitless.change.events import Events
from hitless.change.journal import Journal, JournalUnwritable
from hitless.change.outcome import Outcome
from hitless.change.plan import Plan

log = logging.getLogger(__name__)

T = TypeVar("T")

JOURNAL_TIMEOUT_S: Final = 10.0
"""For one row to reach the disk."""
UNWRITTEN_LIMIT: Final = 100
"""Ends of changes that are kept in memory for a journal that cannot be written."""


class Scribe:
    """`begin` must be on the disk before anything moves, and so raises. What comes after a change cannot
    take it back: it is kept in memory until the journal can be written again, and the trouble is logged and
    emitted.
    """

    def __init__(self, journal: Journal, events: Events) -> None:
        self._journal: Final = journal
        self._events: Final = events
        # One thread, so that rows are written in the order in which they were asked for.
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._unwritten: Final[deque[Callable[[], None]]] = deque(maxlen=UNWRITTEN_LIMIT)

    async def begin(self, plan: Plan, requested_by: str) -> int:
        """The number of the new row.

        Raises:
            JournalUnwritable: it could not be written in JOURNAL_TIMEOUT_S.
        """
        return await self._in_thread(partial(self._begin, plan, requested_by))

    async def finish(self, row: int | None, outcome: Outcome, timings: Mapping[str, float]) -> None:
        if row is not None:
            await self._later(partial(self._journal.finish, row, outcome, dict(timings)))

    async def drained(
        self, row: int | None, *, finished: int, handed_over: int, cut: int, seconds: float
    ) -> None:
        if row is not None:
            drained = partial(self._journal.drained, row, finished=finished, handed_over=handed_over, cut=cut)
            await self._later(partial(drained, seconds=seconds))

    def close(self) -> None:
        self._thread.shutdown(wait=False)

    def _begin(self, plan: Plan, requested_by: str) -> int:
        self._write_unwritten()
        return self._journal.begin(plan, requested_by)

    async def _later(self, write: Callable[[], None]) -> None:
        self._unwritten.append(write)
        try:
            await self._in_thread(self._write_unwritten)
        except JournalUnwritable as error:
            log.error("%s; what happened is kept in memory until then", error)  # noqa: TRY400 - no traceback: see it
            self._events.emit("journal.unwritable", message=str(error))

    def _write_unwritten(self) -> None:
        while self._unwritten:
            self._unwritten[0]()
            self._unwritten.popleft()

    async def _in_thread(self, write: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._thread, write)
        try:
            return await Deadline.after(JOURNAL_TIMEOUT_S).wait(
                asyncio.shield(future), f"the disk of the journal {self._journal.path} did not answer"
            )
        except DeadlinePassed as error:
            future.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise JournalUnwritable(str(error)) from None
