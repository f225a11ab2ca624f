"""From a sink to one of its publishers: a bounded buffer, batches, retries. It never holds up who offers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

from hitless.agent.definition import Retry, WhenFull
from hitless.agent.publishers.failures import PartlyTaken, Rejected
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

    _keeps: ClassVar[bool] = False
    """What is not published when it closes is kept for the next one."""

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
        self._closing: Final = asyncio.Event()
        self._is_full = False
        self._held: list[T] = []
        self._worker: Final = asyncio.create_task(self._work(), name=f"outlet to {name}")

    @property
    def _is_closing(self) -> bool:
        return self._closing.is_set()

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
        self._closing.set()
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
        self._settle(claimed(self._claims, over), "dropped")

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                if self._is_closing:
                    return
                self._more.clear()
                await self._more.wait()
            size = min(self._batch_size, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(size)]
            self._in_hand = claimed(self._claims, size)
            self._has_room.set()
            taken = await self._published(batch)
            claims, self._in_hand = self._in_hand, []
            self._settle(claims, "published" if taken else "failed")

    def _settle(self, claims: Claims, became: str) -> None:
        for count, receipt in claims:
            if became != "stored":
                self._counts[became] += count
            if receipt is not None:
                receipt.settle(count, taken=became in ("published", "stored"))

    async def _published(self, batch: Sequence[T]) -> bool | None:
        """Whether it was taken; None if that is left open, because the outlet closes and what is left is kept elsewhere."""
        attempt, wait_s = 1, self._retry.first
        while True:
            asked_s = 0.0
            try:
                await self._publish(batch)
                return True
            except PartlyTaken as error:
                self._partly(error, len(batch))
                return True
            except Exception as error:  # noqa: BLE001 - a publisher may raise anything; the sample's way ends here
                self._warn(error, len(batch), attempt)
                if not self._goes_on(error, attempt):
                    return False
                if self._is_closing and self._keeps:
                    return None
                asked_s = getattr(error, "retry_after_s", 0.0)
            await self._pause(max(wait_s, min(asked_s, self._retry.longest)))
            attempt, wait_s = attempt + 1, min(2 * wait_s, self._retry.longest)

    def _goes_on(self, error: Exception, attempt: int) -> bool:
        """Whether to try again after this."""
        return not isinstance(error, Rejected) and attempt < self._retry.attempts

    async def _pause(self, seconds: float) -> None:
        """Ends early when the outlet is to close and need not wait."""
        if not self._keeps:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _partly(self, error: PartlyTaken, size: int) -> None:
        """Those are failed that would be counted as published with the others; nobody says which they are."""
        log.warning("%s did not take all of %d: %s", self._name, size, error)
        rejected = min(error.rejected, size)
        self._counts["failed"] += rejected
        self._counts["published"] -= rejected

    def _warn(self, error: Any, count: int, attempt: int) -> None:
        goes_on_for_ever = self._keeps and isinstance(error, OSError)
        of, kind = "" if goes_on_for_ever else f" of {self._retry.attempts}", type(error).__name__
        log.warning("%s did not take %d (attempt %d%s): %s: %s", self._name, count, attempt, of, kind, error)


def claimed(claims: deque[tuple[int, Receipt | None]], count: int) -> Claims:
    """Take the oldest so many from the claims."""
    found: Claims = []
    while count:
        size, receipt = claims.popleft()
        if size > count:
            claims.appendleft((size - count, receipt))
            size = count
        found.append((size, receipt))
        count -= size
    return found
