"""From a sink to one of its publishers: a bounded buffer, batches, retries. It never holds up who offers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Final

from hitless.agent.definition import Retry
from hitless.agent.publishers.publisher import Publisher
from hitless.agent.sample import Sample
from hitless.change import Deadline, DeadlinePassed
from hitless.live.threads import in_thread

log = logging.getLogger(__name__)

FLUSH_S: Final = 20.0
"""How long an outlet that is closed may take for what still waits; the rest is counted as failed."""


class SharedPublisher:
    """One publisher for all outlets that name its URL: calls come one after the other, each in a thread."""

    def __init__(self, publisher: Publisher, name: str) -> None:
        self.name: Final = name
        self._publisher: Final = publisher
        self._lock: Final = asyncio.Lock()

    async def open(self) -> None:
        async with self._lock:
            await in_thread(self._publisher.open, f"open {self.name}")

    async def publish(self, samples: Sequence[Sample]) -> None:
        async with self._lock:
            # Shielded: two calls at once must not come about because one was given up.
            await asyncio.shield(self._call(samples))

    async def _call(self, samples: Sequence[Sample]) -> None:
        await in_thread(lambda: self._publisher.publish(samples), f"publish to {self.name}")

    async def close(self) -> None:
        async with self._lock:
            await in_thread(self._publisher.close, f"close {self.name}")


class Outlet:
    """`offer` from the event loop; what was offered is published in that order."""

    def __init__(
        self,
        publisher: SharedPublisher,
        counts: Counter[str],
        *,
        buffer: int,
        batch_size: int,
        retry: Retry,
        flush_s: float = FLUSH_S,
    ) -> None:
        self._publisher: Final = publisher
        self._counts: Final = counts
        self._limit: Final = buffer
        self._batch_size: Final = batch_size
        self._retry: Final = retry
        self._flush_s: Final = flush_s
        self._waiting: Final[deque[Sample]] = deque()
        self._in_hand = 0
        self._more: Final = asyncio.Event()
        self._is_closing = False
        self._is_full = False
        self._worker: Final = asyncio.create_task(self._work(), name=f"outlet to {publisher.name}")

    def offer(self, samples: Iterable[Sample]) -> None:
        """Take these for publishing. When the buffer is full the oldest are dropped, and counted."""
        before = len(self._waiting)
        self._waiting.extend(samples)
        self._counts["offered"] += len(self._waiting) - before
        over = len(self._waiting) - self._limit
        if over > 0 and not self._is_full:
            log.warning(
                "%s is too slow: its buffer of %d is full, the oldest are dropped",
                self._publisher.name,
                self._limit,
            )
        self._is_full = over > 0
        for _ in range(over):
            self._waiting.popleft()
            self._counts["dropped"] += 1
        self._more.set()

    async def aclose(self) -> None:
        """Publish what still waits, within `flush_s`; then end."""
        self._is_closing = True
        self._more.set()
        try:
            await Deadline.after(self._flush_s).wait(
                asyncio.shield(self._worker), f"{self._publisher.name} did not take what was left"
            )
        except DeadlinePassed as error:
            self._worker.cancel()
            await asyncio.wait({self._worker})
            left = self._in_hand + len(self._waiting)
            self._counts["failed"] += left
            log.warning("%s; %d samples are lost", error, left)

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                if self._is_closing:
                    return
                self._more.clear()
                await self._more.wait()
            size = min(self._batch_size, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(size)]
            self._in_hand = len(batch)
            taken = await self._published(batch)
            self._counts["published" if taken else "failed"] += len(batch)
            self._in_hand = 0

    async def _published(self, batch: Sequence[Sample]) -> bool:
        wait_s = self._retry.first
        for attempt in range(1, self._retry.attempts + 1):
            try:
                await self._publisher.publish(batch)
                return True
            except Exception as error:  # noqa: BLE001 - a publisher may raise anything; the sample's way ends here
                log.warning(
                    "%s did not take %d samples (attempt %d of %d): %s: %s",
                    self._publisher.name,
                    len(batch),
                    attempt,
                    self._retry.attempts,
                    type(error).__name__,
                    error,
                )
            if attempt < self._retry.attempts:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, self._retry.longest)
        return False
