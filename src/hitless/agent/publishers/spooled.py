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
from typing import Any, Final, TypeVar

from hitless.agent.definition import Retry, WhenFull
from hitless.agent.publishers.outlet import FLUSH_S, Claims, Outlet, claimed
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
        self._storing: Claims = []
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
        left = [*self._held, *self._waiting, *self._stage]
        claims = [*self._in_hand, *self._claims, *self._storing, *self._staged]
        self._waiting.clear()
        self._stage.clear()
        if not left:
            return
        try:
            await self._filed(lambda: self._appended(left, room=Room.ANY))
            self._settle(claims, "stored")
        except OSError as error:
            self._settle(claims, "failed")
            log.warning("%d are lost: %s cannot be written: %s", len(left), self._spool.folder, error)

    async def _filed(self, work: Callable[[], R]) -> R:
        async with self._files:
            return await asyncio.shield(self._workers.run(work, f"files of {self._name}"))

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
            items = [self._stage.popleft() for _ in range(size)]
            self._storing = claimed(self._staged, size)
            if not await self._stored(items):
                break
            self._storing = []
            self._has_room.set()
            self._more.set()
        asyncio.get_running_loop().call_soon(self._more.set)  # when this has ended

    async def _stored(self, items: Sequence[T]) -> bool:
        """Whether to go on; if not, these are back in the stage."""
        attempt, room = 1, Room.NONE if self._when_full == "block" else Room.OLDEST
        while True:
            self._has_space.clear()  # before, so that what becomes free meanwhile is noticed
            try:
                self._counts["dropped"] += await self._filed(lambda: self._appended(items, room=room))
                self._settle(self._storing, "stored")
                return True
            except Full:
                if not self._worker.done():
                    await self._has_space.wait()
                    continue
            except OSError as error:
                log.warning("%s cannot be written (attempt %d): %s", self._spool.folder, attempt, error)
                if attempt >= self._retry.attempts:
                    self._settle(self._storing, "failed")
                    return True
                attempt += 1
                await asyncio.sleep(self._retry.first)
            if self._is_closing or self._worker.done():
                self._stage.extendleft(reversed(items))
                self._staged.extendleft(reversed(self._storing))
                self._storing = []
                return False

    def _appended(self, items: Sequence[T], *, room: Room) -> int:
        """In records that a publisher can be given as they are."""
        size = self._batch_size
        dropped = 0
        for first in range(0, len(items), size):
            dropped += self._spool.append(items[first : first + size], room=room)
        return dropped

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
            except OSError as error:
                log.warning("%s cannot be read: %s", self._spool.folder, error)
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
