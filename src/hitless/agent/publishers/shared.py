"""One publisher for all outlets that name its URL: calls come one after the other, each in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from hitless.agent.event import Event
from hitless.agent.publishers.publisher import Publisher, takes_events
from hitless.agent.sample import Sample
from hitless.agent.workers import Workers


class SharedPublisher:
    def __init__(self, publisher: Publisher, name: str, workers: Workers | None = None) -> None:
        self.name: Final = name
        self._publisher: Final = publisher
        self._workers: Final = workers or Workers()
        self._lock: Final = asyncio.Lock()

    async def open(self) -> None:
        async with self._lock:
            await self._workers.run(self._publisher.open, f"open {self.name}")

    async def publish(self, samples: Sequence[Sample]) -> None:
        await self._one(lambda: self._publisher.publish(samples))

    async def publish_events(self, events: Sequence[Event]) -> None:
        publisher = self._publisher
        if not takes_events(publisher):
            raise TypeError(f"{self.name} takes no events")
        await self._one(lambda: publisher.publish_events(events))

    async def close(self) -> None:
        async with self._lock:
            await self._workers.run(self._publisher.close, f"close {self.name}")

    async def _one(self, work: Callable[[], None]) -> None:
        # Shielded with its lock: two calls at once must not come about because one was given up.
        await asyncio.shield(self._locked(work))

    async def _locked(self, work: Callable[[], None]) -> None:
        async with self._lock:
            await self._workers.run(work, f"publish to {self.name}")
