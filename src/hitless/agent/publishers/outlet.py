"""From a sink to one of its publishers: a bounded buffer, batches, retries. It never holds up who offers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

from hitless.agent.definition import Retry, WhenFull
from hitless.agent.publishers.receipt import Receipt
from hitless.change import Deadline, DeadlinePassed

log = logging.getLogger(__name__)

T = TypeVar("T")
Claims: TypeAlias = list[tuple[int, Receipt | None]]
"""Whose items these are, in order: so many of each."""

FLUSH_S: Final = 20.0
"""How long an outlet that is closed may take for what still waits; the rest is counted as failed."""


class Outlet(Generic[T]):
    """`offer` from the event loop; what was offered is published in that order."""

    def __init__(
        self,
        publish: Callable[[Sequence[T]], Awaitable[None]],
        counts: Counter[str],
        *,
        name: str,
        buffer: int,
        batch_size: int,
        retry: Retry,
        when_full: WhenFull = "drop_oldest",
        flush_s: float = FLUSH_S,
    ) -> None:
        self._publish: Final = publish
        self._counts: Final = counts
        self._name: Final = name
        self._limit = buffer
        self._batch_size = batch_size
        self._retry = retry
        self._when_full = when_full
        self._flush_s: Final = flush_s
        self._waiting: Final[deque[T]] = deque()
        self._claims: Final[deque[tuple[int, Receipt | None]]] = deque()
        self._in_hand: Claims = []
        self._more: Final = asyncio.Event()
        self._has_room: Final = asyncio.Event()
        self._is_closing = False
        self._is_full = False
        self._worker: Final = asyncio.create_task(self._work(), name=f"outlet to {name}")

    def adjust(self, *, buffer: int, batch_size: int, retry: Retry, when_full: WhenFull) -> None:
        """Go on with other bounds; what waits stays."""
        self._limit, self._batch_size, self._retry, self._when_full = buffer, batch_size, retry, when_full
        self._more.set()
        self._has_room.set()

    def offer(self, items: Sequence[T], receipt: Receipt | None = None) -> None:
        """Take these for publishing. When the buffer is full the oldest are dropped, and counted, unless the policy is to block:
        then these are taken all the same, and who offers should wait for `room`.
        """
        if receipt is not None:
            receipt.expect(len(items))
        self._counts["offered"] += len(items)
        self._waiting.extend(items)
        self._claims.append((len(items), receipt))
        if len(self._waiting) > self._limit:
            self._overflow(len(self._waiting) - self._limit)
        else:
            self._is_full = False
        self._more.set()

    @property
    def is_blocked(self) -> bool:
        return self._when_full == "block" and len(self._waiting) > self._limit

    @property
    def waiting(self) -> int:
        return len(self._waiting) + sum(count for count, _ in self._in_hand)

    async def room(self) -> None:
        """Wait until there is room. It ends: each batch is published, or given up after all retries."""
        while self.is_blocked and not self._is_closing:
            self._has_room.clear()
            await self._has_room.wait()

    async def aclose(self) -> None:
        """Publish what still waits, within `flush_s`; then end."""
        self._is_closing = True
        self._more.set()
        self._has_room.set()
        try:
            await Deadline.after(self._flush_s).wait(
                asyncio.shield(self._worker), f"{self._name} did not take what was left"
            )
        except DeadlinePassed as error:
            self._worker.cancel()
            await asyncio.wait({self._worker})
            left = self.waiting
            self._settle([*self._in_hand, *self._claims], "failed")
            log.warning("%s; %d are lost", error, left)

    def _overflow(self, over: int) -> None:
        if self._when_full == "block":
            return
        if not self._is_full:
            log.warning(
                "%s is too slow: its buffer of %d is full, the oldest are dropped", self._name, self._limit
            )
        self._is_full = True
        for _ in range(over):
            self._waiting.popleft()
        self._settle(self._claim(over), "dropped")

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                if self._is_closing:
                    return
                self._more.clear()
                await self._more.wait()
            size = min(self._batch_size, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(size)]
            self._in_hand = self._claim(size)
            self._has_room.set()
            taken = await self._published(batch)
            claims, self._in_hand = self._in_hand, []
            self._settle(claims, "published" if taken else "failed")

    def _claim(self, count: int) -> Claims:
        """Take the oldest so many from the claims."""
        found: Claims = []
        while count:
            size, receipt = self._claims.popleft()
            if size > count:
                self._claims.appendleft((size - count, receipt))
                size = count
            found.append((size, receipt))
            count -= size
        return found

    def _settle(self, claims: Claims, became: str) -> None:
        for count, receipt in claims:
            self._counts[became] += count
            if receipt is not None:
                receipt.settle(count, taken=became == "published")

    async def _published(self, batch: Sequence[T]) -> bool:
        attempt, wait_s = 1, self._retry.first
        while True:
            try:
                await self._publish(batch)
                return True
            except Exception as error:  # noqa: BLE001 - a publisher may raise anything; the sample's way ends here
                self._warn(error, len(batch), attempt)
            if attempt >= self._retry.attempts:
                return False
            await asyncio.sleep(wait_s)
            attempt, wait_s = attempt + 1, min(2 * wait_s, self._retry.longest)

    def _warn(self, error: Any, count: int, attempt: int) -> None:
        tries, kind = self._retry.attempts, type(error).__name__
        log.warning(
            "%s did not take %d (attempt %d of %d): %s: %s", self._name, count, attempt, tries, kind, error
        )
