"""Time as the agent sees it, so that tests need not wait for it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Monotonic seconds."""

    def wall(self) -> float:
        """Unix time."""

    async def wait(self, until: float | None, woken: asyncio.Event) -> None:
        """Return at the monotonic time `until` (never, if None), or when `woken` is set."""


class SystemClock:
    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def wait(self, until: float | None, woken: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None if until is None else max(0.0, until - self.now())):
                await woken.wait()
