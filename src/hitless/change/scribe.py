"""Writes the journal for the event loop: in a thread of its own, because a disk that hangs must not hang the service."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Final, TypeVar

from hitless.change.deadline import Deadline, DeadlinePassed
from hitless.change.ending import in_time
from hitless.change.entry import Drained
from hitless.change.events import Events
from hitless.change.journal import Journal, JournalUnwritable
from hitless.change.outcome import Outcome
from hitless.change.plan import Plan

log = logging.getLogger(__name__)

T = TypeVar("T")

UNWRITABLE: Final = "journal_unwritable"

JOURNAL_TIMEOUT_S: Final = 10.0
"""For one row to reach the disk."""
CLOSE_TIMEOUT_S: Final = 2.0
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
        # Without signals: where the process is replaced by another program, one that came to this thread would be lost.
        self._thread: Final = ThreadPoolExecutor(
            1,
            thread_name_prefix="journal",
            initializer=signal.pthread_sigmask,
            initargs=(signal.SIG_BLOCK, signal.valid_signals()),
        )
        self._unwritten: Final[deque[Callable[[], None]]] = deque(maxlen=UNWRITTEN_LIMIT)

    async def begin(self, plan: Plan, requested_by: str) -> int:
        """The number of the new row.

        Raises:
            JournalUnwritable: it could not be written in JOURNAL_TIMEOUT_S.
        """

        def abandon(row: int) -> None:
            """The row came after all, too late for its change: it must not stay open."""
            outcome = Outcome.rejected(
                plan.from_generation, reason=UNWRITABLE, message="the journal was too slow"
            )
            self._unwritten.append(lambda: self._journal.finish(row, outcome, {}))

        return await self._in_thread(lambda: self._begin(plan, requested_by), abandon)

    async def finish(self, row: int | None, outcome: Outcome, timings: Mapping[str, float]) -> None:
        if row is not None:
            await self._write_sometime(lambda: self._journal.finish(row, outcome, timings))

    async def drained(self, row: int | None, drained: Drained) -> None:
        if row is not None:
            await self._write_sometime(lambda: self._journal.drained(row, **asdict(drained)))

    async def flush(self) -> None:
        """Try once more to write what could not be written."""
        with suppress(JournalUnwritable):
            await self._in_thread(self._write_unwritten)

    def close(self) -> None:
        """Try once more to write what could not be written; waits for it no longer than CLOSE_TIMEOUT_S."""
        if self._unwritten:
            wait({self._thread.submit(self._write_unwritten)}, CLOSE_TIMEOUT_S)
        self._thread.shutdown(wait=False)

    def _begin(self, plan: Plan, requested_by: str) -> int:
        self._write_unwritten()
        return self._journal.begin(plan, requested_by)

    async def _write_sometime(self, write: Callable[[], None]) -> None:
        self._unwritten.append(write)
        try:
            await self._in_thread(self._write_unwritten)
        except JournalUnwritable as error:
            log.error("%s; what happened is kept in memory until then", error)  # noqa: TRY400 - no traceback: see it
            self._events.emit("journal.unwritable", message=str(error))

    def _write_unwritten(self) -> None:
        while self._unwritten:
            try:
                self._unwritten[0]()
            except JournalUnwritable:
                raise
            except Exception:
                log.exception("an entry of the journal was lost")
            self._unwritten.popleft()

    async def _in_thread(self, write: Callable[[], T], late: Callable[[T], None] | None = None) -> T:
        """What `write` returns; if that takes too long, `late` is told of it when it is there."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, write)
        if not await in_time(future, Deadline.after(JOURNAL_TIMEOUT_S)):
            future.add_done_callback(partial(_came_late, late))
            what = f"the disk of the journal {self._journal.path} did not answer"
            raise JournalUnwritable(str(DeadlinePassed(what, JOURNAL_TIMEOUT_S)))
        return future.result()


def _came_late(tell: Callable[[T], None] | None, future: asyncio.Future[T]) -> None:
    if not future.cancelled() and future.exception() is None and tell is not None:
        tell(future.result())
