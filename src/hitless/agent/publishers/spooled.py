"""An outlet whose buffer is on disk: what waits survives a kill -9, and an outage of the publisher that is longer than memory.

With `when_full="spill"` memory comes first and only what does not fit goes to disk; otherwise everything is on disk before it is
published. Trouble with the connection (any OSError) is tried for as long as it takes: that is what the buffer is for. Other errors
count against `retry.attempts`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from hitless.agent.definition import Retry, WhenFull
from hitless.agent.publishers.outlet import FLUSH_S, Outlet, claimed
from hitless.agent.publishers.receipt import Receipt
from hitless.agent.publishers.spool import Full, Room, Spool
from hitless.agent.workers import Workers

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

TAKE_OVER_S: Final = 30.0
"""How often one that has nothing to do looks for what others have left behind."""
AT_ONCE: Final = 5000
"""Items that are stored in one go, so that a publisher need not wait long for its turn at the files."""


@dataclass(slots=True)
class _Storing(Generic[T]):
    """What is on its way to the disk."""

    left: deque[T]
    became: list[tuple[int, str]] = field(default_factory=list)
    """Of so many, from the first on."""
    dropped: int = 0
    """Older ones, for want of room."""

    def done(self, count: int, became: str) -> None:
        for _ in range(count):
            self.left.popleft()
        self.became.append((count, became))

    def give_up(self) -> None:
        self.done(len(self.left), "failed")


class SpooledOutlet(Outlet[T]):
    _keeps = True

    def __init__(
        self,
        publish: Callable[[Sequence[T]], Awaitable[None]],
        counts: Counter[str],
        spool: Spool[T],
        *,
        name: str,
        buffer: int,
        batch_size: int,
        retry: Retry,
        when_full: WhenFull = "drop_oldest",
        flush_s: float = FLUSH_S,
        workers: Workers | None = None,
    ) -> None:
        """`spool` has been opened, and is closed with the outlet."""
        self._spool: Final = spool
        self._workers: Final = workers or Workers()
        self._files: Final = asyncio.Lock()
        self._stage: Final[deque[T]] = deque()
        self._staged: Final[deque[tuple[int, Receipt | None]]] = deque()
        self._storing: Final[deque[tuple[int, Receipt | None]]] = deque()
        self._to_store: Final = asyncio.Event()
        self._has_space: Final = asyncio.Event()
        self._is_spilling = True
        counts["restored"] += spool.count
        super().__init__(
            publish,
            counts,
            name=name,
            buffer=buffer,
            batch_size=batch_size,
            retry=retry,
            when_full=when_full,
            flush_s=flush_s,
        )
        self._storer: Final = asyncio.create_task(self._store(), name=f"store for {name}")

    @classmethod
    async def opened(
        cls,
        spool: Spool[T],
        publish: Callable[[Sequence[T]], Awaitable[None]],
        counts: Counter[str],
        workers: Workers | None = None,
        **named: Any,
    ) -> SpooledOutlet[T]:
        """Raises OSError: the files cannot be used."""
        workers = workers or Workers()
        await workers.run(spool.open, f"open {spool.folder}")
        return cls(publish, counts, spool, workers=workers, **named)

    def offer(self, items: Sequence[T], receipt: Receipt | None = None) -> None:
        """Take these. They count as taken when they are on disk; in memory only, when they are published."""
        if not self._is_spilling and len(self._waiting) + len(items) > self._limit:
            self._is_spilling = True
        if not self._is_spilling:
            super().offer(items, receipt)
            return
        if receipt is not None:
            receipt.expect(len(items))
        self._counts["offered"] += len(items)
        # Looked at before, so that a burst of any size fits if the disk has kept up so far.
        over = len(self._stage) - self._limit
        self._stage.extend(items)
        self._staged.append((len(items), receipt))
        if over > 0 and self._when_full != "block":
            for _ in range(over):
                self._stage.popleft()
            self._settle(claimed(self._staged, over), "dropped")
        self._to_store.set()

    @property
    def is_blocked(self) -> bool:
        return self._when_full == "block" and len(self._stage) > self._limit

    @property
    def waiting(self) -> int:
        storing = sum(count for count, _ in self._storing)
        return super().waiting + len(self._stage) + storing + self._spool.count

    async def aclose(self) -> None:
        """Store what is not stored yet, publish what a publisher takes now within `flush_s`; the rest stays on disk."""
        self._closing.set()
        for event in (self._more, self._has_room, self._to_store, self._has_space):
            event.set()
        _, late = await asyncio.wait({self._worker, self._storer}, timeout=self._flush_s)
        for each in late:
            each.cancel()
        if late:
            await asyncio.wait(late)
        await self._keep()
        if left := self._spool.count:
            log.warning("%s did not take all: %d stay in %s", self._name, left, self._spool.folder)
        await self._filed(self._spool.close)

    async def _keep(self) -> None:
        """What is still in memory goes to disk as well."""
        work = _Storing(deque([*self._held, *self._waiting, *self._stage]))
        self._storing.extend([*self._in_hand, *self._claims, *self._staged])
        self._waiting.clear()
        self._stage.clear()
        if not work.left:
            return
        try:
            await self._filed(lambda: self._append(work, room=Room.ANY))
        except OSError as error:
            log.warning("%d are lost: %s cannot be written: %s", len(work.left), self._spool.folder, error)
            work.give_up()
        self._note(work)

    async def _filed(self, work: Callable[[], R]) -> R:
        # Shielded with its lock: who is cancelled must not leave the files to another while they are still written.
        return await asyncio.shield(self._locked(work))

    async def _locked(self, work: Callable[[], R]) -> R:
        async with self._files:
            return await self._workers.run(work, f"files of {self._name}")

    # To disk

    async def _store(self) -> None:
        while True:
            self._to_store.clear()
            if not self._stage:
                if self._is_closing:
                    break
                await self._to_store.wait()
                continue
            # Where nothing may be dropped there must be room for all or none: one record.
            most = self._batch_size if self._when_full == "block" else AT_ONCE
            size = min(most, len(self._stage))
            items = deque(self._stage.popleft() for _ in range(size))
            self._storing.extend(claimed(self._staged, size))
            if not await self._stored(_Storing(items)):
                break
            self._has_room.set()
            self._more.set()
        asyncio.get_running_loop().call_soon(self._more.set)  # when this has ended

    async def _stored(self, work: _Storing[T]) -> bool:
        """Whether to go on; if not, what is left of it is back in the stage."""
        attempt, room = 1, Room.NONE if self._when_full == "block" else Room.OLDEST
        try:
            while work.left:
                self._has_space.clear()  # before, so that what becomes free meanwhile is noticed
                try:
                    await self._filed(lambda: self._append(work, room=room))
                except Full:
                    if not self._worker.done():
                        await self._has_space.wait()
                        continue
                except OSError as error:
                    log.warning("%s cannot be written (attempt %d): %s", self._spool.folder, attempt, error)
                    if attempt >= self._retry.attempts:
                        work.give_up()
                        return True
                    attempt += 1
                    await asyncio.sleep(self._retry.first)
                if work.left and (self._is_closing or self._worker.done()):
                    return False
            return True
        finally:
            self._note(work)
            self._stage.extendleft(reversed(work.left))
            self._staged.extendleft(reversed(self._storing))
            self._storing.clear()

    def _append(self, work: _Storing[T], *, room: Room) -> None:
        """In records that a publisher can be given as they are. What is stored is no longer in `work.left`.

        Raises Full, OSError.
        """
        size = self._batch_size
        while work.left:
            record = list(islice(work.left, size))
            try:
                work.dropped += self._spool.append(record, room=room)
            except (TypeError, ValueError, RecursionError) as error:
                if len(record) > 1:  # one of them cannot be written: the others can
                    size = 1
                    continue
                log.warning("%s: one is lost that cannot be stored: %s", self._name, error)
                work.done(1, "failed")
            else:
                work.done(len(record), "stored")

    def _note(self, work: _Storing[T]) -> None:
        self._counts["dropped"] += work.dropped
        for count, became in work.became:
            self._settle(claimed(self._storing, count), became)

    # From disk

    async def _work(self) -> None:
        try:
            await self._publish_all()
        finally:
            self._has_space.set()  # nobody makes any more of it

    async def _publish_all(self) -> None:
        goes_on = True
        while goes_on:
            self._more.clear()  # before looking, so that what comes meanwhile is noticed
            try:
                goes_on = await self._next()
            except (OSError, TypeError, ValueError, LookupError) as error:
                # It stays there, for a version of this program that can read it or for somebody to look at.
                log.warning("%s cannot be read: %s: %s", self._spool.folder, type(error).__name__, error)
                await self._pause(self._retry.longest)
                goes_on = not self._is_closing

    async def _next(self) -> bool:
        """One batch, or a wait for more; whether to go on. Raises OSError: the files cannot be used."""
        if self._waiting:
            return await self._from_memory()
        if batch := await self._filed(lambda: self._spool.read(self._batch_size)):
            return await self._from_disk(batch)
        return await self._idle()

    async def _from_memory(self) -> bool:
        size = min(self._batch_size, len(self._waiting))
        self._held = [self._waiting.popleft() for _ in range(size)]
        self._in_hand = claimed(self._claims, size)
        taken = await self._published(self._held)
        if taken is None:
            return False
        self._settle(self._in_hand, "published" if taken else "failed")
        self._held, self._in_hand = [], []
        return True

    async def _from_disk(self, batch: Sequence[T]) -> bool:
        taken = await self._published(batch)
        if taken is None:
            return False
        await self._filed(self._spool.settle)
        self._counts["published" if taken else "failed"] += len(batch)
        self._has_space.set()
        return True

    async def _idle(self) -> bool:
        if self._is_closing and self._storer.done():
            return False
        if not self._stage and not self._storing:
            self._is_spilling = self._when_full != "spill"
        try:
            async with asyncio.timeout(TAKE_OVER_S):
                await self._more.wait()
        except TimeoutError:
            self._counts["restored"] += await self._filed(self._spool.take_over)
        return True

    def _goes_on(self, error: Exception, attempt: int) -> bool:
        # Its own file system may be full as well: that passes too.
        return isinstance(error, OSError) or super()._goes_on(error, attempt)
